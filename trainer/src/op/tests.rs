mod composed;

use super::*;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use oxidet_compute::kernel::optimizer::{Penalty, Rule};
use oxidet_graph::{Activation, MaxPool, Padding};

/// Reproducible values in [−1, 1).
fn values(seed: u64, shape: &[usize]) -> Tensor {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn var(seed: u64, shape: &[usize]) -> Var {
    Var::from_tensor(&values(seed, shape)).unwrap()
}

/// Gradients of Σ y · (fixed weights).
fn gradients(y: &Tensor) -> Result<GradStore> {
    (y * values(99, y.dims()))?.sum_all()?.backward()
}

#[track_caller]
fn assert_close(a: &Tensor, b: &Tensor, tolerance: f32) {
    assert_eq!(a.dims(), b.dims());
    let worst = (a - b).and_then(|d| d.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()).unwrap();
    assert!(worst < tolerance, "tensors differ by {worst}");
}

const SAME: ConvGeometry = ConvGeometry { stride: 1, padding: Padding::all(1), groups: 1 };

/// Candle's own convolution is slow but right.
#[test]
fn convolution_agrees_with_candle() -> Result<()> {
    for (stride, groups, side) in [(1, 1, 9), (2, 1, 9), (2, 3, 8), (1, 6, 7)] {
        let (x, w) = (var(1, &[2, 6, side, side - 2]), var(2, &[6, 6 / groups, 3, 3]));
        let bias = var(3, &[6]);
        let geometry = ConvGeometry { stride, padding: Padding::all(1), groups };
        let ours = conv2d(&x, &w, Some(&bias), &geometry)?;
        let candle = x.conv2d(&w, 1, stride, 1, groups)?.broadcast_add(&bias.reshape((1, 6, 1, 1))?)?;
        assert_close(&ours, &candle, 1e-5);
        let (ours, candle) = (gradients(&ours)?, gradients(&candle)?);
        for var in [&x, &w, &bias] {
            assert_close(ours.get(var).unwrap(), candle.get(var).unwrap(), 1e-4);
        }
    }
    Ok(())
}

#[test]
fn fused_node_agrees_with_its_parts() -> Result<()> {
    let (x, w) = (var(1, &[2, 3, 6, 5]), var(2, &[4, 3, 3, 3]));
    let (gamma, beta) = (var(3, &[4]), var(4, &[4]));
    let (mean, variance) = (values(5, &[4]), values(6, &[4]).sqr()?);
    for frozen in [false, true] {
        let (one, two) = (BatchStatsSlot::default(), BatchStatsSlot::default());
        let mode = |stats| {
            if frozen { BnMode::Frozen { mean: &mean, variance: &variance } } else { BnMode::Train { stats } }
        };
        let act = Some(Activation::Mish);
        let fused = conv_bn_act(&x, &w, &gamma, &beta, &SAME, mode(&one), 1e-3, act)?;
        let z = conv2d(&x, &w, None, &SAME)?;
        let normal = batch_norm_act(&z, &gamma, &beta, mode(&two), 1e-3, None)?;
        let parts = activation(&normal, Activation::Mish)?;
        assert_close(&fused, &parts, 1e-5);
        assert_eq!(one.take(), two.take());
        let (fused, parts) = (gradients(&fused)?, gradients(&parts)?);
        for var in [&x, &w, &gamma, &beta] {
            assert_close(fused.get(var).unwrap(), parts.get(var).unwrap(), 1e-4);
        }
    }
    Ok(())
}

#[test]
fn training_statistics_are_those_of_the_batch() -> Result<()> {
    let x = Tensor::new(&[[[[1f32, 2.0]], [[5.0, 5.0]]], [[[3.0, 6.0]], [[5.0, 5.0]]]], &Device::Cpu)?;
    let (one, zero) =
        (Tensor::ones(2, DType::F32, &Device::Cpu)?, Tensor::zeros(2, DType::F32, &Device::Cpu)?);
    let slot = BatchStatsSlot::default();
    batch_norm_act(&x, &one, &zero, BnMode::Train { stats: &slot }, 1e-3, None)?;
    let stats = slot.take().unwrap();
    assert_eq!(stats.mean, [3.0, 5.0]);
    assert_eq!(stats.population_variance, [3.5, 0.0]);
    assert!((stats.unbiased_variance[0] - 14.0 / 3.0).abs() < 1e-6);
    assert!(slot.take().is_none());
    Ok(())
}

/// Candle's own pooling gives a quarter of this gradient, and its upsampling overwrites the other branch's.
#[test]
fn pooling_and_upsampling_add_to_other_gradients() -> Result<()> {
    let x = var(1, &[1, 2, 4, 6]);
    let window = MaxPool { kernel: 2, stride: 2, padding: Padding::default() };
    let pooled = gradients(&max_pool(&x, &window)?)?;
    let total = |t: &Tensor| t.sum_all().unwrap().to_scalar::<f32>().unwrap();
    let weights = values(99, &[1, 2, 2, 3]);
    assert!((total(pooled.get(&x).unwrap()) - total(&weights)).abs() < 1e-5);

    for upsampled_first in [true, false] {
        let (up, plain) = (upsample(&x, 2)?.sum_all()?, (x.as_tensor() * 10.0)?.sum_all()?);
        let loss = if upsampled_first { (up + plain)? } else { (plain + up)? };
        let gradient = loss.backward()?;
        assert_close(gradient.get(&x).unwrap(), &x.ones_like()?.affine(14.0, 0.0)?, 1e-6);
    }
    Ok(())
}

#[test]
fn sums_slices_and_joins_pass_their_gradients() -> Result<()> {
    let (x, y) = (var(1, &[2, 3, 2, 2]), var(2, &[2, 3, 2, 2]));
    let joined = concat(&[&x, &y])?;
    assert_close(&channel_slice(&joined, 3, 3)?, &y, 1e-9);
    let part = channel_slice(&joined, 2, 3)?;
    let sum = add(&part, &x)?;
    let by_candle = (Tensor::cat(&[x.as_tensor(), y.as_tensor()], 1)?.narrow(1, 2, 3)? + x.as_tensor())?;
    assert_close(&sum, &by_candle, 1e-9);
    let (ours, candle) = (gradients(&sum)?, gradients(&by_candle)?);
    for var in [&x, &y] {
        assert_close(ours.get(var).unwrap(), candle.get(var).unwrap(), 1e-6);
    }
    let fused = add_activate(&x, &y, Activation::LeakyRelu)?;
    let parts = activation(&add(&x, &y)?, Activation::LeakyRelu)?;
    assert_close(&fused, &parts, 1e-9);
    let (fused, parts) = (gradients(&fused)?, gradients(&parts)?);
    assert_close(fused.get(&x).unwrap(), parts.get(&x).unwrap(), 1e-9);
    Ok(())
}

#[test]
fn gradients_nobody_asked_for_are_not_computed() -> Result<()> {
    let image = values(1, &[1, 3, 5, 5]);
    let (w, frozen) = (var(2, &[4, 3, 3, 3]), values(3, &[4, 4, 3, 3]));
    let first = conv2d(&image, &w, None, &SAME)?;
    let second = conv2d(&first, &frozen, None, &SAME)?;
    let gradients = gradients(&second)?;
    assert!(gradients.get(&image).is_none() && gradients.get(&frozen).is_none());
    assert!(gradients.get(&w).is_some());
    Ok(())
}

#[test]
fn transposed_inputs_are_made_contiguous() -> Result<()> {
    let x = var(1, &[1, 4, 3, 2]);
    let window = MaxPool { kernel: 2, stride: 1, padding: Padding::default() };
    let transposed = x.transpose(2, 3)?;
    assert_close(&max_pool(&transposed, &window)?, &max_pool(&transposed.copy()?, &window)?, 1e-9);
    Ok(())
}

#[test]
fn wrong_shapes_and_types_are_errors() -> Result<()> {
    let (x, w) = (values(1, &[1, 3, 5, 5]), values(2, &[4, 2, 3, 3]));
    assert!(conv2d(&x, &w, None, &SAME).is_err());
    let w = values(2, &[4, 3, 3, 3]);
    assert!(conv2d(&x, &w, Some(&values(3, &[5])), &SAME).is_err());
    assert!(conv2d(&x.to_dtype(DType::F64)?, &w, None, &SAME).is_err());
    assert!(add(&x, &w).is_err());
    assert!(channel_slice(&x, 2, 2).is_err());
    assert!(upsample(&x, 0).is_err());
    let window = MaxPool { kernel: 6, stride: 1, padding: Padding::default() };
    assert!(max_pool(&x, &window).is_err());
    let slot = BatchStatsSlot::default();
    let three = values(4, &[3]);
    assert!(
        batch_norm_act(&x, &three, &values(5, &[4]), BnMode::Train { stats: &slot }, 1e-3, None).is_err()
    );
    assert!(concat(&[&x, &values(6, &[1, 3, 4, 5])]).is_err());
    Ok(())
}

#[test]
fn update_changes_the_variable_in_place() -> Result<()> {
    let p = Var::new(&[1f32, 2.0], &Device::Cpu)?;
    let rule = Rule::Sgd { momentum: 0.0, nesterov: false };
    let gradient = Tensor::new(&[10f32, 20.0], &Device::Cpu)?;
    let mut state = vec![vec![0.0; 2]];
    update(&p, &gradient, &rule, 1, 0.1, Penalty { l1: 0.0, l2: 0.5 }, &mut state, None)?;
    assert_close(&p, &Tensor::new(&[-0.1f32, -0.2], &Device::Cpu)?, 1e-6);
    assert!(update(&p, &gradient, &rule, 2, 0.1, Penalty::default(), &mut [], None).is_err());
    Ok(())
}
