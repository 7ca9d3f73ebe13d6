use super::*;
use crate::kernel::Store;
use crate::kernel::conv::{Geometry, reference};
use crate::kernel::memory::Scratch;
use crate::kernel::simd::dispatch;
use crate::kernel::simd::forced::on_every_level;
use crate::kernel::testing::{on_thread_counts, relative_error, values};

fn geometry([n, c, h, w]: [usize; 4], out: usize) -> Geometry {
    Geometry::new([n, c, h, w], [out, c, 3, 3], 1, Padding::all(1), 1)
        .unwrap_or_else(|error| panic!("{error}"))
}

fn computed(g: &Geometry, x: &[f32], w: &[f32], gy: &[f32]) -> [Vec<f32>; 3] {
    let (mut y, mut gx, mut gw) =
        (vec![f32::NAN; gy.len()], vec![f32::NAN; x.len()], vec![f32::NAN; w.len()]);
    dispatch!(simd => {
        forward(simd, g, x, &transformed(simd, g, w, Scratch::take), &mut y);
        input_gradient(simd, g, gy, w, &mut gx, Store::Replace);
        weight_gradient(simd, g, x, gy, &mut gw);
    });
    [y, gx, gw]
}

fn inputs(g: &Geometry) -> [Vec<f32>; 3] {
    let len = |shape: [usize; 4]| shape.iter().product();
    [values(1, len(g.input_shape())), values(2, len(g.weight_shape())), values(3, len(g.output_shape()))]
}

/// Rounding of the transforms, as a share of the largest value.
const TOLERANCE: f64 = 3e-5;

#[test]
fn error_is_bounded_over_odd_shapes() {
    let cases = [
        geometry([1, 1, 1, 1], 1),
        geometry([2, 3, 5, 7], 4),
        geometry([1, 17, 13, 4], 33),
        geometry([3, 33, 6, 9], 17),
        geometry([2, 50, 26, 23], 41),
        // Several blocks of tile rows, and of the inner dimension.
        geometry([2, 530, 5, 9], 9),
        geometry([4, 60, 33, 40], 30),
    ];
    for g in &cases {
        let [x, w, gy] = inputs(g);
        let want = reference(g, &x, &w, &gy);
        on_every_level(|level| {
            let names = ["output", "input gradient", "weight gradient"];
            for ((got, want), name) in computed(g, &x, &w, &gy).iter().zip(&want).zip(names) {
                let error = relative_error(got, want);
                assert!(error < TOLERANCE, "{level} {name} of {g:?}: error {error:.1e}");
            }
        });
    }
}

#[test]
fn threads_do_not_change_results() {
    let g = geometry([2, 60, 13, 14], 110);
    let [x, w, gy] = inputs(&g);
    on_thread_counts(|| computed(&g, &x, &w, &gy).concat());
}

#[test]
fn only_large_enough_convolutions_use_it() {
    assert!(is_faster(&geometry([1, 128, 13, 13], 128)));
    assert!(!is_faster(&geometry([1, 32, 13, 13], 32)));
    let strided = Geometry::new([1, 128, 13, 13], [128, 128, 3, 3], 2, Padding::all(1), 1).unwrap();
    assert!(!is_faster(&strided));
}
