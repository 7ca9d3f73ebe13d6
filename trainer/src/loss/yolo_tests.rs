//! The loss against values computed by the original, and its gradient against finite differences.

use super::*;

/// Rows of `[y0, x0, p_h, p_w, step_y, step_x, y, x, h, w, objectness, class 0 …]`, as the original's golden values have them.
const IMAGE_0: [[f64; 14]; 4] = [
    [0.25, 0.50, 0.30, 0.20, 0.25, 0.25, 0.60, 0.40, 1.10, 0.90, 1.2, 0.5, -1.0, 0.3],
    [0.25, 0.75, 0.10, 0.15, 0.25, 0.25, 0.10, 0.90, 2.00, 1.50, -0.7, -0.2, 0.8, 1.5],
    [0.00, 0.00, 0.40, 0.40, 0.25, 0.25, 0.50, 0.50, 0.50, 0.50, 0.3, 0.0, 0.0, 0.0],
    [0.25, 0.50, 0.32, 0.22, 0.25, 0.25, 0.55, 0.45, 1.00, 1.00, 2.0, 1.0, 1.0, 1.0],
];
const IMAGE_1: [[f64; 14]; 4] = [
    [0.50, 0.50, 0.30, 0.20, 0.25, 0.25, 0.20, 0.30, 1.00, 1.00, -1.5, 0.1, 0.2, 0.3],
    [0.50, 0.25, 0.10, 0.15, 0.25, 0.25, 0.70, 0.80, 1.20, 0.80, 0.0, -0.5, 0.5, 0.9],
    [0.75, 0.75, 0.40, 0.40, 0.25, 0.25, 0.50, 0.50, 0.70, 0.60, -3.0, 2.0, -2.0, 0.1],
    [0.00, 0.75, 0.32, 0.22, 0.25, 0.25, 0.95, 0.05, 1.30, 0.70, 0.6, 0.4, -0.4, 0.0],
];

fn split(row: &[f64; 14]) -> (Place, Columns) {
    let place = Place { cell: (row[0], row[1]), anchor: (row[2], row[3]), step: (row[4], row[5]) };
    (place, Columns { y: row[6], x: row[7], h: row[8], w: row[9] })
}

#[test]
fn golden_terms() {
    let targets = [
        (CentreBox { cy: 0.40, cx: 0.62, h: 0.34, w: 0.19 }, 0, 1.0),
        (CentreBox { cy: 0.30, cx: 0.95, h: 0.15, w: 0.20 }, 2, 2.5),
    ];
    for (smoothing, alpha, gamma, want, total) in [
        (0.0, 0.0, 0.0, [1.229531, 0.683234, 1.417495, 3.284163], 80.98982),
        (0.1, 0.0, 0.0, [1.229531, 0.695734, 1.507495, 3.370413], 85.58858),
        (0.0, 0.25, 2.0, [1.229531, 0.063331, 0.335446, 0.761071], 23.74435),
        (0.1, 0.25, 2.0, [1.229531, 0.065283, 0.311305, 0.699498], 22.47768),
    ] {
        let config = LossConfig {
            loc_weight: 5.0,
            neg_obj_weight: 50.0,
            label_smoothing: smoothing,
            focal_alpha: alpha,
            focal_gamma: gamma,
            ..LossConfig::default()
        };
        let mut terms = LossTerms::default();
        for (row, (target, class, weight)) in IMAGE_0.iter().zip(&targets) {
            let (place, columns) = split(row);
            terms.loc += weight * localisation(&place, &columns, target).0;
            terms.pos += cross_entropy(&config, row[10] as f32, true).0;
            for k in 0..3 {
                terms.class += weight * cross_entropy(&config, row[11 + k] as f32, k == *class).0;
            }
        }
        // Row 3 of the first image is neutral.
        for row in IMAGE_0[2..3].iter().chain(&IMAGE_1) {
            terms.neg += cross_entropy(&config, row[10] as f32, false).0;
        }
        let found = [terms.loc, terms.pos, terms.neg, terms.class].map(|term| term / 2.0);
        for (got, want) in found.iter().zip(want) {
            assert!((got - want).abs() < 2e-6, "{found:?}");
        }
        assert!((terms.total(&config) / 2.0 / total - 1.0).abs() < 1e-6);
    }
}

#[test]
fn golden_gradient() {
    let config = LossConfig::default();
    let (place, columns) = split(&IMAGE_0[0]);
    let target = CentreBox { cy: 0.40, cx: 0.62, h: 0.34, w: 0.19 };
    let (_, [y, x, h, w]) = localisation(&place, &columns, &target);
    let logit = |k: usize, target| cross_entropy(&config, IMAGE_0[0][10 + k] as f32, target).1;
    let found =
        [y, x, h, w, logit(0, true), logit(1, true), logit(2, false), logit(3, false)].map(|d| d / 2.0);
    let want = [0.0, -2.1063447, -0.6397105, -0.1003269, -0.1157376, -0.1887704, 0.1344707, 0.2872213];
    for (got, want) in found.iter().zip(want) {
        assert!((got - want).abs() < 1e-5, "{found:?}");
    }
}

fn small_network(config: LossConfig) -> (YoloLoss, Vec<Vec<f32>>, Vec<Vec<Truth>>) {
    let heads = vec![
        Head { stride: 32, anchors: vec![(0.5, 0.6), (0.9, 0.8)], grid_xy_extend: 0.05 },
        Head { stride: 16, anchors: vec![(0.2, 0.3), (0.3, 0.2)], grid_xy_extend: 0.1 },
    ];
    let value = |i: usize| ((i as f32 * 12.9898).sin() * 43758.547).fract() * 1.5;
    let maps = heads.iter().map(|head| (0..2 * head.boxes(64, 96) * 8).map(value).collect()).collect();
    let truth = |class, x1, y1, x2, y2| Truth { class, difficult: false, bbox: NormBox { x1, y1, x2, y2 } };
    let truths = vec![
        vec![truth(0, 0.1, 0.2, 0.4, 0.5), truth(2, 0.3, 0.1, 0.9, 0.8), truth(1, 0.7, 0.7, 0.8, 0.95)],
        vec![truth(1, 0.0, 0.0, 1.0, 1.0)],
    ];
    (YoloLoss { config, heads, classes: 3 }, maps, truths)
}

#[test]
fn gradient_agrees_with_finite_differences() {
    let base = LossConfig {
        loc_weight: 2.0,
        neg_obj_weight: 0.7,
        class_weights: vec![1.0, 2.0, 0.5],
        ..Default::default()
    };
    for config in [
        base.clone(),
        LossConfig { label_smoothing: 0.1, ..base.clone() },
        LossConfig { focal_alpha: 0.25, focal_gamma: 2.0, ..base },
    ] {
        let (loss, maps, truths) = small_network(config);
        let total = |maps: &[Vec<f32>]| {
            let views: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
            let Loss { terms, gradients, .. } = loss.compute(&views, &truths, 64, 96);
            (terms.total(&loss.config), gradients)
        };
        let (_, gradients) = total(&maps);
        let (mut checked, step) = (0, 1.0 / 256.0);
        for head in 0..2 {
            for at in 0..maps[head].len() {
                let moved = |by: f32| {
                    let mut maps = maps.clone();
                    maps[head][at] += by;
                    total(&maps).0
                };
                let (up, here, down) = (moved(step), moved(0.0), moved(-step));
                // The neutral mask is a jump: a value whose step crosses it has no difference quotient.
                if (up - 2.0 * here + down).abs() > 0.01 {
                    continue;
                }
                let want = (up - down) / f64::from(2.0 * step);
                let got = f64::from(gradients[head][at]);
                assert!((got - want).abs() < 2e-4 * (1.0 + want.abs()), "head {head} at {at}: {got} {want}");
                checked += usize::from(want != 0.0);
            }
        }
        assert!(checked > 100, "{checked} values with a gradient");
    }
}

#[test]
fn a_row_near_an_object_is_no_negative() {
    let (mut loss, mut maps, truths) = small_network(LossConfig::default());
    let views = |maps: &[Vec<f32>]| -> f64 {
        let views: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
        loss.compute(&views, &truths, 64, 96).terms.neg
    };
    for map in &mut maps {
        map.fill(0.0);
    }
    let strict = views(&maps);
    loss.config.neutral_iou = 0.3;
    let views: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
    let tolerant = loss.compute(&views, &truths, 64, 96).terms.neg;
    assert!(tolerant < strict, "{tolerant} {strict}");
    let rows: usize = loss.heads.iter().map(|head| head.boxes(64, 96)).sum();
    assert!(strict < rows as f64 * 2f64.ln());
}
