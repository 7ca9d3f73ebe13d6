//! The kernels against the operations composed of candle's own, which run on the CPU too. In f64 these are the reference of
//! both, and finite differences are theirs.

use super::values;
use crate::op::{
    BatchStatsSlot, BnMode, ConvGeometry, activation, add, add_activate, batch_norm, batch_norm_act,
    channel_slice, concat, conv, conv_bn_act, conv2d, max_pool, optimizer, update, upsample,
};
use candle_core::{DType, Device, Result, Tensor, Var};
use oxidet_compute::kernel::batch_norm::BatchStats;
use oxidet_compute::kernel::optimizer::{Penalty, Rule};
use oxidet_graph::{Activation, MaxPool, Padding};

const ACTIVATIONS: [Option<Activation>; 6] = [
    None,
    Some(Activation::Relu),
    Some(Activation::LeakyRelu),
    Some(Activation::Mish),
    Some(Activation::Swish),
    Some(Activation::Sigmoid),
];

/// An operation on some tensors.
type Operation<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

/// Σ y · (fixed weights)
fn loss(y: &Tensor) -> Result<Tensor> {
    (y * values(99, y.dims()).to_dtype(y.dtype())?)?.sum_all()
}

/// The result of `operation` on `inputs` in `dtype` and the gradients of its [`loss`].
fn run(operation: Operation, inputs: &[Tensor], dtype: DType) -> Result<Vec<Tensor>> {
    let vars: Vec<Var> =
        inputs.iter().map(|input| Var::from_tensor(&input.to_dtype(dtype)?)).collect::<Result<_>>()?;
    let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let y = operation(&tensors)?;
    let gradients = loss(&y)?.backward()?;
    let gradients = vars.iter().map(|var| gradients.get(var).expect("a gradient of every input").clone());
    Ok(std::iter::once(y.clone()).chain(gradients).collect())
}

/// The worst |got − want| / max(1, |want|).
fn distance(got: &Tensor, want: &Tensor) -> Result<f64> {
    assert_eq!(got.dims(), want.dims());
    let flat = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let (got, want) = (flat(got)?, flat(want)?);
    let errors = got.iter().zip(&want).map(|(g, w)| (g - w).abs() / w.abs().max(1.0));
    // Not `max`, which drops NaN.
    Ok(errors.fold(0.0, |worst, e| if e <= worst { worst } else { e }))
}

/// Values and gradients of `kernel` and of `composed`, both in f32, are those of `composed` in f64.
#[track_caller]
fn assert_agree(case: &str, inputs: &[Tensor], kernel: Operation, composed: Operation) {
    let check = || -> Result<()> {
        let reference = run(composed, inputs, DType::F64)?;
        for (name, results) in
            [("kernel", run(kernel, inputs, DType::F32)?), ("composed", run(composed, inputs, DType::F32)?)]
        {
            for (i, (result, reference)) in results.iter().zip(&reference).enumerate() {
                let distance = distance(result, reference)?;
                assert!(distance < 2e-5, "{case}: {name}, result {i}: {distance} from the reference");
            }
        }
        Ok(())
    };
    check().unwrap_or_else(|error| panic!("{case}: {error}"));
}

/// The gradients of `composed` in f64 are those that central differences give.
#[track_caller]
fn assert_finite_differences(case: &str, inputs: &[Tensor], composed: Operation) {
    const STEP: f64 = 1e-6;
    let check = || -> Result<()> {
        let inputs: Vec<Tensor> = inputs.iter().map(|t| t.to_dtype(DType::F64)).collect::<Result<_>>()?;
        let gradients = run(composed, &inputs, DType::F64)?;
        for (i, gradient) in gradients[1..].iter().enumerate() {
            let start = inputs[i].flatten_all()?.to_vec1::<f64>()?;
            let moved = |at: usize, by: f64| -> Result<f64> {
                let (mut values, mut inputs) = (start.clone(), inputs.clone());
                values[at] += by;
                inputs[i] = Tensor::from_vec(values, inputs[i].shape(), &Device::Cpu)?;
                loss(&composed(&inputs)?)?.to_scalar()
            };
            let slopes = (0..start.len())
                .map(|at| Ok((moved(at, STEP)? - moved(at, -STEP)?) / (2.0 * STEP)))
                .collect::<Result<Vec<f64>>>()?;
            let slopes = Tensor::from_vec(slopes, gradient.shape(), &Device::Cpu)?;
            let distance = distance(gradient, &slopes)?;
            assert!(distance < 1e-7, "{case}: input {i}: {distance} from finite differences");
        }
        Ok(())
    };
    check().unwrap_or_else(|error| panic!("{case}: {error}"));
}

#[test]
fn convolutions() {
    let uneven = Padding { top: 0, left: 1, bottom: 2, right: 1 };
    // Input [N, C, H, W], filters, kernel, stride, padding, groups.
    let cases = [
        ([1, 1, 1, 1], 1, 1, 1, Padding::default(), 1),
        ([1, 3, 1, 1], 5, 3, 1, Padding::all(1), 1),
        ([2, 3, 5, 7], 4, 1, 1, Padding::default(), 1),
        ([1, 5, 6, 5], 9, 1, 2, Padding::default(), 1),
        ([2, 7, 6, 5], 11, 3, 1, Padding::all(1), 1),
        // More cells out of reach in rows than in columns, and the other way round.
        ([2, 3, 8, 7], 4, 3, 2, Padding::all(1), 1),
        ([2, 3, 7, 8], 4, 3, 2, Padding::all(1), 1),
        ([1, 3, 9, 10], 4, 3, 2, Padding { top: 0, left: 0, bottom: 1, right: 1 }, 1),
        ([2, 6, 7, 6], 4, 3, 1, uneven, 2),
        ([1, 6, 8, 5], 9, 5, 2, Padding::all(2), 3),
        ([1, 5, 9, 7], 5, 3, 1, Padding::all(1), 5),
        ([2, 5, 8, 7], 5, 3, 2, uneven, 5),
        ([1, 4, 8, 7], 8, 5, 1, uneven, 4),
        ([1, 3, 13, 11], 2, 7, 2, Padding::all(3), 1),
    ];
    for (input, filters, kernel, stride, padding, groups) in cases {
        let geometry = ConvGeometry { stride, padding, groups };
        let case = format!("{input:?} by {filters} of {kernel}, {geometry:?}");
        let w = values(2, &[filters, input[1] / groups, kernel, kernel]);
        let inputs = [values(1, &input), w, values(3, &[filters])];
        let composed: Operation = &|t| conv::composed(&t[0], &t[1], Some(&t[2]), &geometry);
        assert_agree(&case, &inputs, &|t| conv2d(&t[0], &t[1], Some(&t[2]), &geometry), composed);
        assert_agree(&case, &inputs[..2], &|t| conv2d(&t[0], &t[1], None, &geometry), &|t| {
            conv::composed(&t[0], &t[1], None, &geometry)
        });
        assert_finite_differences(&case, &inputs, composed);
    }
}

/// The only window lies in the padding, before the map.
#[test]
fn a_convolution_beside_the_map() -> Result<()> {
    let padding = Padding { top: 2, ..Padding::default() };
    let geometry = ConvGeometry { stride: 4, padding, groups: 1 };
    let (x, w, bias) = (values(1, &[1, 2, 1, 2]), values(2, &[3, 2, 1, 1]), values(3, &[3]));
    let composed = conv::composed(&x, &w, Some(&bias), &geometry)?;
    assert!(distance(&composed, &bias.reshape((1, 3, 1, 1))?)? < 1e-9);
    assert!(distance(&conv2d(&x, &w, Some(&bias), &geometry)?, &composed)? < 1e-9);
    Ok(())
}

/// Shapes of maps to normalise: one value a channel is a case of its own, as its variance is 0.
const NORMALIZED: [[usize; 4]; 4] = [[1, 3, 1, 1], [2, 9, 1, 1], [1, 5, 4, 7], [3, 2, 5, 3]];

#[test]
fn normalisations() {
    for shape in NORMALIZED {
        let channels = [shape[1]];
        let (mean, variance) = (values(5, &channels), values(6, &channels).sqr().unwrap());
        let inputs = [values(1, &shape), values(2, &channels), values(3, &channels)];
        for activation in ACTIVATIONS {
            let case = format!("{shape:?}, {activation:?}");
            let composed: Operation = &|t| {
                let slot = BatchStatsSlot::default();
                batch_norm::composed(&t[0], &t[1], &t[2], BnMode::Train { stats: &slot }, 1e-3, activation)
            };
            let kernel: Operation = &|t| {
                let slot = BatchStatsSlot::default();
                batch_norm_act(&t[0], &t[1], &t[2], BnMode::Train { stats: &slot }, 1e-3, activation)
            };
            assert_agree(&case, &inputs, kernel, composed);
            assert_finite_differences(&case, &inputs, composed);

            let case = format!("{case}, frozen");
            let composed: Operation = &|t| {
                let (mean, variance) = (mean.to_dtype(t[0].dtype())?, variance.to_dtype(t[0].dtype())?);
                let mode = BnMode::Frozen { mean: &mean, variance: &variance };
                batch_norm::composed(&t[0], &t[1], &t[2], mode, 1e-3, activation)
            };
            let kernel: Operation = &|t| {
                let mode = BnMode::Frozen { mean: &mean, variance: &variance };
                batch_norm_act(&t[0], &t[1], &t[2], mode, 1e-3, activation)
            };
            assert_agree(&case, &inputs, kernel, composed);
            assert_finite_differences(&case, &inputs, composed);
        }
    }
}

#[test]
fn statistics_of_a_batch() -> Result<()> {
    for shape in NORMALIZED {
        let (x, channels) = (values(1, &shape), [shape[1]]);
        let (gamma, beta) = (values(2, &channels), values(3, &channels));
        let (kernel, composed) = (BatchStatsSlot::default(), BatchStatsSlot::default());
        batch_norm_act(&x, &gamma, &beta, BnMode::Train { stats: &kernel }, 1e-3, None)?;
        batch_norm::composed(&x, &gamma, &beta, BnMode::Train { stats: &composed }, 1e-3, None)?;
        let fields = |slot: &BatchStatsSlot| {
            let BatchStats { mean, population_variance, unbiased_variance } = slot.take().unwrap();
            [mean, population_variance, unbiased_variance].map(|v| Tensor::new(v, &Device::Cpu).unwrap())
        };
        for (composed, kernel) in fields(&composed).iter().zip(&fields(&kernel)) {
            assert!(distance(composed, kernel)? < 1e-6);
        }
    }
    Ok(())
}

#[test]
fn a_fused_node() {
    let geometry = ConvGeometry { stride: 2, padding: Padding::all(1), groups: 1 };
    let inputs = [values(1, &[2, 3, 6, 5]), values(2, &[4, 3, 3, 3]), values(3, &[4]), values(4, &[4])];
    let activation = Some(Activation::Mish);
    assert_agree(
        "conv_bn_act",
        &inputs,
        &|t| {
            let slot = BatchStatsSlot::default();
            let mode = BnMode::Train { stats: &slot };
            conv_bn_act(&t[0], &t[1], &t[2], &t[3], &geometry, mode, 1e-3, activation)
        },
        &|t| {
            let slot = BatchStatsSlot::default();
            let z = conv::composed(&t[0], &t[1], None, &geometry)?;
            batch_norm::composed(&z, &t[2], &t[3], BnMode::Train { stats: &slot }, 1e-3, activation)
        },
    );
}

/// From far in the flat parts, where an exponential overflows, to the kink.
#[test]
fn activations() -> Result<()> {
    let x: Vec<f32> =
        (-440..=440).map(|i| i as f32 * 0.25).chain([-1e-20, 1e-20, -1e6, 1e6, 3.0, -3.0, 0.7]).collect();
    let far = [Tensor::new(x, &Device::Cpu)?];
    let near = [values(1, &[2, 3, 1, 5])];
    for kind in ACTIVATIONS.into_iter().flatten() {
        let (kernel, composed): (Operation, Operation) =
            (&|t| activation(&t[0], kind), &|t| activation::composed(&t[0], Some(kind)));
        assert_agree(&format!("{kind:?}"), &far, kernel, composed);
        assert_finite_differences(&format!("{kind:?}"), &near, composed);
        let nan = activation::composed(&Tensor::new(&[f32::NAN], &Device::Cpu)?, Some(kind))?;
        assert!(nan.to_vec1::<f32>()?[0].is_nan(), "{kind:?} of NaN");
    }
    Ok(())
}

#[test]
fn sums_slices_and_joins() {
    for shape in [[1, 1, 1, 1], [2, 5, 3, 4]] {
        let inputs = [values(1, &shape), values(2, &shape)];
        for kind in ACTIVATIONS {
            let composed: Operation = &|t| add::composed(&t[0], &t[1], kind);
            let kernel: Operation = &|t| match kind {
                None => add(&t[0], &t[1]),
                Some(kind) => add_activate(&t[0], &t[1], kind),
            };
            assert_agree(&format!("add {shape:?}, {kind:?}"), &inputs, kernel, composed);
            assert_finite_differences(&format!("add {shape:?}, {kind:?}"), &inputs, composed);
        }
        for (start, len) in [(0, 1), (shape[1] - 1, 1), (0, 2 * shape[1]), (shape[1] / 2, shape[1])] {
            assert_agree(
                &format!("channels {start} to {start} + {len} of two {shape:?}"),
                &inputs,
                &|t| channel_slice(&concat(&[&t[0], &t[1]])?, start, len),
                &|t| Tensor::cat(&[&t[0], &t[1]], 1)?.narrow(1, start, len),
            );
        }
    }
}

const POOLS: [(usize, usize, Padding); 7] = [
    (1, 1, Padding::all(0)),
    (2, 2, Padding::all(0)),
    (3, 2, Padding::all(1)),
    (3, 2, Padding { top: 0, left: 1, bottom: 1, right: 0 }),
    (2, 3, Padding { top: 1, left: 0, bottom: 0, right: 1 }),
    (5, 1, Padding::all(2)),
    (13, 1, Padding::all(6)),
];

#[test]
fn pools() {
    for (kernel, stride, padding) in POOLS {
        let window = MaxPool { kernel, stride, padding };
        for shape in [[1, 1, 1, 1], [2, 3, 5, 8], [1, 9, 6, 3]] {
            if shape[2].min(shape[3]) + padding.top.min(padding.left) < kernel {
                continue;
            }
            let (case, inputs) = (format!("{shape:?}, {window:?}"), [values(1, &shape)]);
            let composed: Operation = &|t| max_pool::composed(&t[0], &window);
            assert_agree(&case, &inputs, &|t| max_pool(&t[0], &window), composed);
            assert_finite_differences(&case, &inputs, composed);
        }
    }
}

/// After a ReLU many cells of a window are equal: the first takes the gradient, where candle's `maximum` would share it.
#[test]
fn ties_and_nans_in_pools() -> Result<()> {
    let x = (values(1, &[2, 3, 7, 6]).relu()? * 3.0)?.round()?;
    for (kernel, stride, padding) in POOLS {
        let window = MaxPool { kernel, stride, padding };
        if kernel > 6 + 2 * padding.top {
            continue;
        }
        let ours = run(&|t| max_pool(&t[0], &window), std::slice::from_ref(&x), DType::F32)?;
        let composed = run(&|t| max_pool::composed(&t[0], &window), std::slice::from_ref(&x), DType::F32)?;
        for (composed, ours) in composed.iter().zip(&ours) {
            assert!(distance(composed, ours)? < 1e-6, "{window:?}");
        }
    }
    let shared = run(&|t| t[0].maximum(&t[1]), &[x.clone(), x.clone()], DType::F32)?;
    let half = (values(99, x.dims()) * 0.5)?;
    assert!(distance(&shared[1], &half)? < 1e-9 && distance(&shared[2], &half)? < 1e-9);

    let window = MaxPool { kernel: 2, stride: 2, padding: Padding::default() };
    for place in 0..4 {
        let cells: Vec<f32> = (0..4).map(|i| if i == place { f32::NAN } else { 1.0 }).collect();
        let pooled = max_pool::composed(&Tensor::from_vec(cells, (1, 1, 2, 2), &Device::Cpu)?, &window)?;
        assert!(pooled.flatten_all()?.to_vec1::<f32>()?[0].is_nan(), "NaN in cell {place}");
    }
    Ok(())
}

#[test]
fn enlargements() {
    for shape in [[1, 1, 1, 1], [2, 3, 4, 5]] {
        for factor in [1, 2, 3] {
            let (case, inputs) = (format!("{shape:?} by {factor}"), [values(1, &shape)]);
            let composed: Operation = &|t| upsample::composed(&t[0], factor);
            assert_agree(&case, &inputs, &|t| upsample(&t[0], factor), composed);
            assert_finite_differences(&case, &inputs, composed);
        }
    }
}

#[test]
fn updates() -> Result<()> {
    let rules = [
        Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7, amsgrad: true },
        Rule::Sgd { momentum: 0.9, nesterov: true },
        Rule::RmsProp { rho: 0.9, momentum: 0.5, epsilon: 1e-7, centered: true },
    ];
    for rule in rules {
        let (ours, composed) =
            (Var::from_tensor(&values(1, &[3, 5]))?, Var::from_tensor(&values(1, &[3, 5]))?);
        let mut state = vec![vec![0.0; 15]; rule.slots().len()];
        let mut other_state = state.clone();
        let penalty = Penalty { l1: 1e-3, l2: 1e-2 };
        for step in 1..4 {
            let gradient = values(step, &[5, 3]).t()?;
            update(&ours, &gradient, &rule, step, 0.1, penalty, &mut state, None)?;
            optimizer::on_host(&composed, &gradient, |p, g| {
                rule.update(step, 0.1, penalty, p, g, &mut other_state, None);
            })?;
        }
        assert_eq!(ours.to_vec2::<f32>()?, composed.to_vec2::<f32>()?, "{rule:?}");
        assert_eq!(state, other_state, "{rule:?}");
        assert_ne!(ours.to_vec2::<f32>()?, values(1, &[3, 5]).to_vec2::<f32>()?, "{rule:?}");
    }
    Ok(())
}
