//! Maps times one number each: the gate of squeeze and excitation, where a map is a channel, and stochastic depth, where it
//! is all of an image.

use super::Store;
use super::simd::{Simd, dispatch};
use super::sum::sums;
use rayon::prelude::*;

/// Writes `maps · gate`, where `maps` are as many as there are gates.
///
/// # Panics
/// When a length does not fit.
pub fn forward_into(maps: &[f32], gate: &[f32], output: &mut [f32]) {
    store_into(maps, gate, output, Store::Replace);
}

/// Stores the gradient with respect to the maps: that of the output times the gate.
///
/// # Panics
/// When a length does not fit.
pub fn map_gradient_into(output_gradient: &[f32], gate: &[f32], map_gradient: &mut [f32], store: Store) {
    store_into(output_gradient, gate, map_gradient, store);
}

fn store_into(maps: &[f32], gate: &[f32], output: &mut [f32], store: Store) {
    let size = check(maps.len(), gate.len(), output.len());
    let gated = maps.par_chunks(size).zip(gate);
    dispatch!(simd => {
        output.par_chunks_mut(size).zip(gated).for_each(|(output, (map, gate))| {
            simd.vectorize(
                #[inline(always)]
                || output.iter_mut().zip(map).for_each(|(y, x)| store.put(y, x * gate)),
            );
        });
    });
}

/// Multiplies `maps` by their gates in place.
///
/// # Panics
/// When a length does not fit.
pub fn in_place(maps: &mut [f32], gate: &[f32]) {
    let size = check(maps.len(), gate.len(), maps.len());
    dispatch!(simd => {
        maps.par_chunks_mut(size).zip(gate).for_each(|(map, gate)| {
            simd.vectorize(
                #[inline(always)]
                || map.iter_mut().for_each(|x| *x *= gate),
            );
        });
    });
}

/// Stores the gradient with respect to the gate: the sum over each map of the output's gradient times the map.
///
/// # Panics
/// When a length does not fit.
pub fn gate_gradient_into(maps: &[f32], output_gradient: &[f32], gate_gradient: &mut [f32], store: Store) {
    let size = check(maps.len(), gate_gradient.len(), output_gradient.len());
    let pairs = maps.par_chunks(size).zip(output_gradient.par_chunks(size));
    dispatch!(simd => {
        gate_gradient.par_iter_mut().zip(pairs).for_each(|(target, (map, gradient))| {
            let [sum] = simd.vectorize(
                #[inline(always)]
                || sums([map, gradient], #[inline(always)] |[x, g]| [x * g]),
            );
            store.put(target, sum as f32);
        });
    });
}

/// Values of one map.
fn check(maps: usize, gates: usize, other: usize) -> usize {
    assert!(gates > 0 && maps > 0 && maps.is_multiple_of(gates) && maps == other, "one gate a map");
    maps / gates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::simd::forced::on_every_level;
    use crate::kernel::testing::values;

    #[test]
    fn every_map_has_its_gate() {
        let (maps, gate, gradient) = (values(1, 6 * 35), values(2, 6), values(3, 6 * 35));
        on_every_level(|level| {
            let mut y = vec![9.0; maps.len()];
            forward_into(&maps, &gate, &mut y);
            let mut in_place_too = maps.clone();
            in_place(&mut in_place_too, &gate);
            assert_eq!(y, in_place_too, "{level}");
            let mut gx = vec![1.0; maps.len()];
            map_gradient_into(&gradient, &gate, &mut gx, Store::Add);
            for (i, (y, gx)) in y.iter().zip(&gx).enumerate() {
                assert_eq!(*y, maps[i] * gate[i / 35], "{level}");
                assert!((gx - 1.0 - gradient[i] * gate[i / 35]).abs() < 1e-6, "{level}");
            }
            let mut gg = vec![9.0; 6];
            gate_gradient_into(&maps, &gradient, &mut gg, Store::Replace);
            for (map, found) in gg.iter().enumerate() {
                let pairs = maps[map * 35..][..35].iter().zip(&gradient[map * 35..]);
                let want: f64 = pairs.map(|(x, g)| f64::from(*x) * f64::from(*g)).sum();
                assert!((f64::from(*found) - want).abs() < 1e-5, "{level}: {found}, not {want}");
            }
        });
    }
}
