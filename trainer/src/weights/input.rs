//! What another program feeds its first layer, and how ours can be made to see the same.
//!
//! There, a pixel value v of channel c (0 … 255) enters as (v − M_c) / S_c, with red, green, blue in some order; here as v − I_c, blue
//! first. A convolution W there is the convolution W_c / S_c here plus the constant Σ W_c (I_c − M_c) / S_c, which the bias or the running
//! mean of the batch norm behind it takes. Only at the border of the image the two differ: outside of it there is "M" there and "I" here.

use oxidet_graph::Tensor;
use oxidet_vision::Preprocess;

/// An input convention: of values from 0 to 255, for red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Input {
    /// Whether blue comes first.
    pub(super) blue_first: bool,
    /// Subtracted, for red, green, blue.
    pub(super) mean: [f64; 3],
    /// Divided by, for red, green, blue.
    pub(super) deviation: [f64; 3],
}

/// Caffe's, Keras' mode `caffe`, and TAO's: blue, green, red minus the means of ImageNet.
pub(super) const CAFFE: Input =
    Input { blue_first: true, mean: [123.68, 116.779, 103.939], deviation: [1.0; 3] };

/// Darknet's: 0 to 1.
pub(super) const DARKNET: Input = Input { blue_first: false, mean: [0.0; 3], deviation: [255.0; 3] };

/// Keras' mode `tf`: −1 to 1.
pub(super) const TENSORFLOW: Input = Input { blue_first: false, mean: [127.5; 3], deviation: [127.5; 3] };

/// Torchvision's, timm's, and Keras' mode `torch`: standardised by mean and deviation of ImageNet.
pub(super) const TORCH: Input = Input {
    blue_first: false,
    mean: [0.485 * 255.0, 0.456 * 255.0, 0.406 * 255.0],
    deviation: [0.229 * 255.0, 0.224 * 255.0, 0.225 * 255.0],
};

impl Input {
    /// Whether a network with this contract sees what the other program sees.
    pub(super) fn is(&self, preprocess: &Preprocess) -> bool {
        preprocess.channels == 3
            && self.blue_first
            && self.deviation == [1.0; 3]
            && preprocess.depth == 8
            && preprocess
                .mean
                .iter()
                .zip(self.mean.iter().rev())
                .all(|(ours, theirs)| *ours == *theirs as f32)
    }

    /// The first layer's kernel `[out, 3, k, k]` as `[out, 3 or 1, k, k]` for our input, and what has to be added to each of its outputs.
    pub(super) fn fold(&self, kernel: &Tensor, preprocess: &Preprocess) -> (Tensor, Vec<f64>) {
        let [filters, 3, k, _] = kernel.shape()[..] else { unreachable!("a kernel for colour images") };
        let taps = k * k;
        // A value of 16 bits is 256 times one of 8.
        let unit = if preprocess.depth == 16 { 256.0 } else { 1.0 };
        let mut folded = vec![0.0f64; filters * preprocess.channels * taps];
        let mut shift = vec![0.0f64; filters];
        for (filter, weights) in kernel.data().chunks_exact(3 * taps).enumerate() {
            for (channel, weights) in weights.chunks_exact(taps).enumerate() {
                let colour = if self.blue_first { 2 - channel } else { channel };
                let (mean, deviation) = (self.mean[colour] * unit, self.deviation[colour] * unit);
                let ours = if preprocess.channels == 3 { 2 - colour } else { 0 };
                let to = (filter * preprocess.channels + ours) * taps;
                for (to, weight) in folded[to..to + taps].iter_mut().zip(weights) {
                    *to += f64::from(*weight) / deviation;
                }
                let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
                shift[filter] += sum * (f64::from(preprocess.mean[ours]) - mean) / deviation;
            }
        }
        let folded = folded.into_iter().map(|weight| weight as f32).collect();
        (Tensor::new([filters, preprocess.channels, k, k], folded), shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One window over one patch of an image, there and here.
    #[test]
    fn the_folded_kernel_sees_what_the_other_program_sees() {
        let noise = |i: usize| ((i as f64 * 12.9898).sin() * 43758.547).fract();
        let kernel: Vec<f32> = (0..2 * 27).map(|i| noise(i) as f32).collect();
        let kernel = Tensor::new([2, 3, 3, 3], kernel);
        // Red, green, blue; the gray one has the same value three times.
        let colour: Vec<[f64; 3]> =
            (0..9).map(|tap| [0, 1, 2].map(|c| (noise(99 + tap * 3 + c).abs() * 255.0).floor())).collect();
        let gray: Vec<[f64; 3]> = colour.iter().map(|pixel| [pixel[0]; 3]).collect();
        let means = Preprocess { mean: vec![10.0, 20.0, 30.0], ..Preprocess::new(32, 32, 3) };
        let sixteen = Preprocess::sixteen_bit(32, 32);
        for input in [CAFFE, DARKNET, TENSORFLOW, TORCH] {
            for (preprocess, pixels) in [
                (&Preprocess::new(32, 32, 3), &colour),
                (&means, &colour),
                (&Preprocess::new(32, 32, 1), &gray),
                (&sixteen, &gray),
            ] {
                let (folded, shift) = input.fold(&kernel, preprocess);
                assert_eq!(folded.shape(), [2, preprocess.channels, 3, 3]);
                for (filter, shift) in shift.iter().enumerate() {
                    let there: f64 = (0..27)
                        .map(|at| {
                            let (channel, tap) = (at / 9, at % 9);
                            let c = if input.blue_first { 2 - channel } else { channel };
                            let value = (pixels[tap][c] - input.mean[c]) / input.deviation[c];
                            f64::from(kernel.data()[filter * 27 + at]) * value
                        })
                        .sum();
                    let unit = if preprocess.depth == 16 { 256.0 } else { 1.0 };
                    let len = preprocess.channels * 9;
                    let here: f64 = (0..len)
                        .map(|at| {
                            let (channel, tap) = (at / 9, at % 9);
                            let value = pixels[tap][2 - channel] * unit - f64::from(preprocess.mean[channel]);
                            f64::from(folded.data()[filter * len + at]) * value
                        })
                        .sum();
                    assert!((here + shift - there).abs() < 1e-3 * there.abs().max(1.0), "{input:?}");
                }
            }
        }
        assert!(CAFFE.is(&Preprocess::new(32, 32, 3)));
        assert!(!CAFFE.is(&means) && !CAFFE.is(&sixteen) && !TORCH.is(&Preprocess::new(32, 32, 3)));
    }
}
