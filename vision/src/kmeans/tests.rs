use super::*;

const GOLDEN: [(f32, f32); 10] = [
    (0.05, 0.1),
    (0.06, 0.12),
    (0.055, 0.11),
    (0.2, 0.2),
    (0.22, 0.18),
    (0.21, 0.25),
    (0.5, 0.6),
    (0.52, 0.55),
    (0.48, 0.62),
    (0.07, 0.1),
];

const SETTINGS: KmeansSettings = KmeansSettings { clusters: 3, max_steps: 10_000, restarts: 10, seed: 42 };

fn assert_close(got: &[(f32, f32)], want: &[(f32, f32)]) {
    let near = |a: f32, b: f32| (a - b).abs() < 1e-6;
    let same = got.len() == want.len() && got.iter().zip(want).all(|(g, w)| near(g.0, w.0) && near(g.1, w.1));
    assert!(same, "{got:?} instead of {want:?}");
}

/// Boxes around `centres`, each side within a tenth, as many as asked for.
fn cloud(centres: &[(f32, f32)], count: usize) -> Vec<(f32, f32)> {
    let mut rng = rng(7, 7);
    let mut near = |side: f32| side * rng.random_range(0.9..1.1);
    (0..count).map(|i| centres[i % centres.len()]).map(|(w, h)| (near(w), near(h))).collect()
}

#[test]
fn the_original_s_result_from_its_seeds() {
    let seeds = vec![GOLDEN[0], GOLDEN[3], GOLDEN[6]];
    let want = [(0.0575, 0.105), (0.21, 0.2), (0.5, 0.6)];
    assert_close(&move_centres(&Boxes::new(&GOLDEN), seeds, 10_000), &want);
    assert_close(&kmeans(&GOLDEN, &SETTINGS).unwrap(), &want);
}

#[test]
fn boxes_go_to_the_centre_with_the_best_iou() {
    let boxes = cloud(&GOLDEN, 1003);
    let centres = [(0.3, 0.1), (0.05, 0.1), (0.2, 0.2), (0.2, 0.2), (0.5, 0.5)];
    for group in boxes.chunks_exact(LANES) {
        let side = |side: fn(&(f32, f32)) -> f32| std::array::from_fn(|lane| side(&group[lane]));
        let (owners, lead) = nearest(&side(|size| size.0), &side(|size| size.1), &centres);
        let mut leads = Vec::new();
        for (&size, owner) in group.iter().zip(owners) {
            let mut fits = centres.map(|centre| iou(size, centre));
            assert!(fits[owner as usize] >= best_iou(size, &centres) - 1e-6, "{size:?}: {owner}");
            assert!(owner != 3, "ties go to the first");
            fits.sort_by(f64::total_cmp);
            leads.push(fits[4] - fits[3]);
        }
        let want = leads.into_iter().fold(f64::INFINITY, f64::min);
        assert!((f64::from(lead) - want).abs() < ROUNDING / 2.0, "{lead} {want}");
    }
}

/// What the original does, step by step: nothing is skipped, medians by sorting.
#[test]
fn boxes_nobody_looks_at_would_have_stayed() {
    let boxes = cloud(&[(0.05, 0.1), (0.07, 0.08), (0.1, 0.1), (0.1, 0.15), (0.3, 0.1), (0.2, 0.3)], 3000);
    let seeds = boxes[..5].to_vec();
    let median = |mut sides: Vec<f32>| {
        sides.sort_by(f32::total_cmp);
        (sides[(sides.len() - 1) / 2] + sides[sides.len() / 2]) / 2.0
    };
    let mut centres = seeds.clone();
    for steps in 1..30 {
        let mut members = vec![Vec::new(); centres.len()];
        for &size in &boxes {
            let fits: Vec<f64> = centres.iter().map(|&centre| iou(size, centre)).collect();
            let best = fits.iter().copied().fold(0.0, f64::max);
            members[fits.iter().position(|&fit| fit == best).unwrap()].push(size);
        }
        let sides = |of: &[(f32, f32)], side: fn(&(f32, f32)) -> f32| median(of.iter().map(side).collect());
        centres = members.iter().map(|of| (sides(of, |size| size.0), sides(of, |size| size.1))).collect();
        assert_close(&move_centres(&Boxes::new(&boxes), seeds.clone(), steps), &centres);
    }
}

#[test]
fn separate_clouds_are_found_in_a_large_set() {
    let centres = [(0.03, 0.03), (0.03, 0.3), (0.1, 0.1), (0.3, 0.03), (0.5, 0.5)];
    let boxes = cloud(&centres, 4 * SAMPLE);
    let found = kmeans(&boxes, &KmeansSettings { clusters: 5, ..SETTINGS }).unwrap();
    for &centre in &centres {
        assert!(best_iou(centre, &found) > 0.98, "{centre:?} in {found:?}");
    }
    assert!(found.is_sorted_by(|a, b| a.0 * a.1 <= b.0 * b.1));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let boxes = cloud(&GOLDEN, 5 * SAMPLE);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let centres = kmeans(&boxes, &KmeansSettings { clusters: 9, ..SETTINGS }).unwrap();
            (mean_best_iou(&boxes, &centres).to_bits(), centres)
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn one_cluster_is_the_median() {
    let found = kmeans(&GOLDEN, &KmeansSettings { clusters: 1, ..SETTINGS }).unwrap();
    assert_close(&found, &[(0.205, 0.19)]);
}

#[test]
fn as_many_clusters_as_sizes_fit_exactly() {
    let twice = [GOLDEN, GOLDEN].concat();
    let found = kmeans(&twice, &KmeansSettings { clusters: 10, ..SETTINGS }).unwrap();
    assert_eq!(mean_best_iou(&twice, &found), 1.0);
}

#[test]
fn an_emptied_centre_takes_the_worst_fitting_box() {
    // Of two equal centres the second one gets no box; the original made it NaN.
    let seeds = vec![(0.05, 0.1), (0.05, 0.1), (0.2, 0.2)];
    let mut found = move_centres(&Boxes::new(&GOLDEN), seeds, 10_000);
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert_close(&found, &[(0.0575, 0.105), (0.21, 0.2), (0.5, 0.6)]);
}

#[test]
fn what_cannot_be_clustered_is_refused() {
    let too_many = KmeansSettings { clusters: 11, ..SETTINGS };
    let twice = [GOLDEN, GOLDEN].concat();
    assert_eq!(kmeans(&twice, &too_many), Err(KmeansError::TooFewSizes { clusters: 11, distinct: 10 }));
    assert_eq!(kmeans(&GOLDEN, &KmeansSettings { clusters: 0, ..SETTINGS }), Err(KmeansError::Nothing));
    for bad in [(0.0, 1.0), (1.0, -1.0), (1.0, f32::INFINITY)] {
        let error = kmeans(&[GOLDEN[0], bad], &KmeansSettings { clusters: 1, ..SETTINGS }).unwrap_err();
        assert!(matches!(error, KmeansError::NoShape { index: 1, .. }), "{error}");
    }
    assert!(kmeans(&[(f32::NAN, 1.0)], &KmeansSettings { clusters: 1, ..SETTINGS }).is_err());
}
