use super::*;
use crate::kernel::simd::forced::on_every_level;
use crate::kernel::testing::{activation_f64, activations, on_thread_counts, relative_error, values};

fn geometry(
    [n, c, h, w]: [usize; 4],
    out: usize,
    kernel: usize,
    stride: usize,
    padding: Padding,
    groups: usize,
) -> Geometry {
    Geometry::new([n, c, h, w], [out, c / groups, kernel, kernel], stride, padding, groups)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Output, input gradient and weight gradient by the definition, in f64.
pub(in crate::kernel) fn reference(g: &Geometry, x: &[f32], w: &[f32], gy: &[f32]) -> [Vec<f64>; 3] {
    let (out_height, out_width) = (g.out_height(), g.out_width());
    let (inputs, outputs) = (g.group_inputs(), g.group_outputs());
    let mut y = vec![0.0; gy.len()];
    let mut gx = vec![0.0; x.len()];
    let mut gw = vec![0.0; w.len()];
    for (yi, (sum, gradient)) in y.iter_mut().zip(gy).enumerate() {
        let (column, row) = (yi % out_width, yi / out_width % out_height);
        let (channel, n) =
            (yi / (out_width * out_height) % g.out_channels, yi / (out_width * out_height * g.out_channels));
        for c in 0..inputs {
            for k in 0..g.kernel * g.kernel {
                let iy = (row * g.stride + k / g.kernel).wrapping_sub(g.padding.top);
                let ix = (column * g.stride + k % g.kernel).wrapping_sub(g.padding.left);
                if iy < g.height && ix < g.width {
                    let map = n * g.in_channels + channel / outputs * inputs + c;
                    let xi = (map * g.height + iy) * g.width + ix;
                    let wi = (channel * inputs + c) * g.kernel * g.kernel + k;
                    *sum += f64::from(x[xi]) * f64::from(w[wi]);
                    gx[xi] += f64::from(*gradient) * f64::from(w[wi]);
                    gw[wi] += f64::from(*gradient) * f64::from(x[xi]);
                }
            }
        }
    }
    [y, gx, gw]
}

fn inputs(g: &Geometry) -> [Vec<f32>; 3] {
    let len = |shape: [usize; 4]| shape.iter().product();
    [values(1, len(g.input_shape())), values(2, len(g.weight_shape())), values(3, len(g.output_shape()))]
}

fn computed(g: &Geometry, x: &[f32], w: &[f32], gy: &[f32]) -> [Vec<f32>; 3] {
    // Outputs start as garbage: every element must be written.
    let (mut y, mut gx, mut gw) =
        (vec![f32::NAN; gy.len()], vec![f32::NAN; x.len()], vec![f32::NAN; w.len()]);
    forward_into(g, x, w, None, None, &mut y);
    input_gradient_into(g, gy, w, &mut gx, Store::Replace);
    weight_gradient_into(g, x, gy, &mut gw);
    // Added to itself, the gradient doubles.
    let mut twice = gx.clone();
    input_gradient_into(g, gy, w, &mut twice, Store::Add);
    assert!(
        twice.iter().zip(&gx).all(|(twice, once)| (twice - 2.0 * once).abs() <= 1e-5 * (1.0 + once.abs())),
        "{g:?}"
    );
    [y, gx, gw]
}

fn check(g: &Geometry, tolerance: f64, level: &str) {
    let [x, w, gy] = inputs(g);
    let names = ["output", "input gradient", "weight gradient"];
    for ((got, want), name) in computed(g, &x, &w, &gy).iter().zip(reference(g, &x, &w, &gy)).zip(names) {
        let error = relative_error(got, &want);
        assert!(error < tolerance, "{level} {name} of {g:?}: error {error:.1e}");
    }
}

/// Direct kernels: rounding of one sum.
const DIRECT: f64 = 4e-6;

fn paddings() -> Vec<Padding> {
    let mut paddings: Vec<_> = (0..4).map(Padding::all).collect();
    paddings.push(Padding { top: 0, left: 0, bottom: 1, right: 1 });
    paddings.push(Padding { top: 2, left: 0, bottom: 1, right: 3 });
    paddings
}

/// Every kernel, stride, padding and group kind over small odd maps, with channels that fill no block.
#[test]
fn every_geometry_matches_the_definition() {
    on_every_level(|level| {
        for (height, width) in [(1, 1), (5, 7), (8, 6), (13, 4)] {
            for kernel in 1..=7 {
                for stride in 1..=3 {
                    for padding in paddings() {
                        for (batch, channels, out, groups) in [(2, 3, 5, 1), (1, 5, 5, 5), (1, 8, 12, 4)] {
                            let weight = [out, channels / groups, kernel, kernel];
                            let input = [batch, channels, height, width];
                            if let Ok(g) = Geometry::new(input, weight, stride, padding, groups) {
                                check(&g, DIRECT, level);
                            }
                        }
                    }
                }
            }
        }
    });
}

/// Sizes that need several blocks of channels, inner indices, pixels and pixel groups.
#[test]
fn blocks_join_without_a_seam() {
    let same = |kernel: usize| Padding::all(kernel / 2);
    let cases = [
        geometry([2, 17, 9, 11], 33, 3, 1, same(3), 1),
        geometry([1, 33, 13, 13], 17, 1, 1, same(1), 1),
        geometry([3, 47, 13, 13], 40, 3, 1, same(3), 1),
        geometry([2, 20, 12, 14], 33, 3, 2, same(3), 1),
        geometry([2, 3, 33, 31], 16, 7, 2, same(7), 1),
        geometry([1, 450, 6, 5], 9, 1, 1, same(1), 1),
        geometry([5, 4, 40, 40], 20, 3, 1, same(3), 1),
        geometry([1, 2, 3, 700], 3, 3, 1, same(3), 1),
        geometry([2, 32, 16, 16], 24, 3, 2, Padding { top: 0, left: 0, bottom: 1, right: 1 }, 1),
        geometry([2, 32, 12, 12], 32, 3, 1, same(3), 4),
        geometry([2, 40, 19, 17], 40, 3, 2, same(3), 40),
        geometry([2, 17, 30, 21], 17, 5, 1, same(5), 17),
    ];
    on_every_level(|level| {
        for g in &cases {
            check(g, DIRECT, level);
        }
    });
}

/// Depthwise maps of several strips, of widths around whole vectors, narrow, flat and single-celled ones.
#[test]
fn depthwise_strips_join_without_a_seam() {
    let sizes = [
        (1, 1),
        (1, 2),
        (3, 300),
        (150, 5),
        (70, 100),
        (131, 97),
        (66, 64),
        (37, 33),
        (16, 16),
        (9, 8),
        (8, 31),
    ];
    let mut paddings = paddings();
    paddings.push(Padding { top: 1, left: 5, bottom: 2, right: 0 });
    on_every_level(|level| {
        for (height, width) in sizes {
            for kernel in [3, 5] {
                for stride in [1, 2] {
                    for padding in &paddings {
                        let (input, weight) = ([2, 2, height, width], [2, 1, kernel, kernel]);
                        if let Ok(g) = Geometry::new(input, weight, stride, *padding, 2) {
                            check(&g, DIRECT, level);
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn bias_and_activation_follow_the_sum() {
    let g = geometry([2, 5, 6, 7], 9, 3, 1, Padding::all(1), 1);
    let [x, w, gy] = inputs(&g);
    let bias = values(4, 9);
    let [sums, ..] = reference(&g, &x, &w, &gy);
    for activation in activations().map(Some).into_iter().chain([None]) {
        let mut y = vec![f32::NAN; gy.len()];
        forward_into(&g, &x, &w, Some(&bias), activation, &mut y);
        let want: Vec<f64> = sums
            .iter()
            .enumerate()
            .map(|(i, sum)| activation_f64(activation, sum + f64::from(bias[i / 42 % 9])).0)
            .collect();
        assert!(relative_error(&y, &want) < DIRECT, "{activation:?}");
    }
    let mut gradient = vec![f32::NAN; 9];
    bias_gradient_into(&g, &gy, &mut gradient);
    let want: Vec<f64> = (0..9)
        .map(|c| gy.iter().enumerate().filter(|(i, _)| i / 42 % 9 == c).map(|(_, v)| f64::from(*v)).sum())
        .collect();
    assert!(relative_error(&gradient, &want) < DIRECT);
}

#[test]
fn threads_do_not_change_results() {
    for g in [
        geometry([2, 20, 12, 14], 33, 3, 2, Padding::all(1), 1),
        geometry([5, 4, 40, 40], 20, 3, 1, Padding::all(1), 1),
        geometry([1, 90, 9, 8], 80, 3, 1, Padding::all(1), 1),
        geometry([2, 24, 12, 12], 24, 3, 1, Padding::all(1), 24),
        geometry([3, 5, 90, 131], 5, 3, 2, Padding::all(1), 5),
    ] {
        let [x, w, gy] = inputs(&g);
        on_thread_counts(|| computed(&g, &x, &w, &gy).concat());
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let new = |input, weight, stride, groups| Geometry::new(input, weight, stride, Padding::all(0), groups);
    let shape = [1, 4, 5, 5];
    assert!(matches!(new(shape, [2, 4, 3, 2], 1, 1), Err(GeometryError::NotSquare { .. })));
    assert!(matches!(new(shape, [2, 4, 3, 3], 0, 1), Err(GeometryError::Empty { .. })));
    assert!(matches!(new([0, 4, 5, 5], [2, 4, 3, 3], 1, 1), Err(GeometryError::Empty { .. })));
    assert!(matches!(new(shape, [2, 3, 3, 3], 1, 1), Err(GeometryError::Channels { .. })));
    assert!(matches!(new(shape, [3, 2, 3, 3], 1, 2), Err(GeometryError::Channels { .. })));
    assert!(matches!(new(shape, [2, 4, 6, 6], 1, 1), Err(GeometryError::WindowTooLarge { .. })));
}
