//! What a model is exported for, as data.
//!
//! [`Target::facts`] is the one place that knows which programs hold which suppression node, take INT8 ranges from where, and have
//! half precision from where. The versions are those of NVIDIA's plugin sources (TensorRT OSS 8.6 to 11.1) and migration guides.

use std::fmt;

use oxidet_graph::onnx::{FloatType, NmsTail};

/// What runs a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// TensorRT 8.
    #[default]
    Trt8,
    /// TensorRT 10.
    Trt10,
    /// TensorRT 11.
    Trt11,
    /// ONNX Runtime, with any of its providers.
    Ort,
    /// DeepStream with the parsers it comes with.
    DeepStream,
}

/// Where an INT8 engine has its ranges from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Int8Route {
    /// A calibration cache, or ranges set by the builder's program, beside a float model.
    Cache,
    /// Q/DQ pairs in the model.
    QuantizedModel,
}

/// How a model comes to run in half precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfRoute {
    /// The model is single precision; whoever builds the engine asks for half. The text says how.
    BuilderFlag(&'static str),
    /// The model's layers are float16.
    Model,
}

/// What is known about a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Facts {
    /// As it is called on a command line.
    pub name: &'static str,
    /// As it is called in a sentence.
    pub title: &'static str,
    /// Suppression nodes it runs; the first is the default.
    pub tails: &'static [NmsTail],
    /// Those it does not, and why.
    pub refused_tails: &'static [(NmsTail, &'static str)],
    /// Where it takes INT8 ranges from; the first is the default.
    pub int8: &'static [Int8Route],
    /// How it comes to half precision.
    pub half: HalfRoute,
    /// Version of TensorRT in the header of a calibration cache, `(major, minor, patch)`, where there is one.
    pub cache_version: Option<(u32, u32, u32)>,
}

const TRTEXEC_HALF: &str = "trtexec --onnx=model.onnx --fp16";
const NO_PLUGINS: &str = "ONNX Runtime knows no TensorRT plugins";
const PARSER_WANTS_BATCHED: &str = "DeepStream's parser reads the four outputs of BatchedNMS only";

use Int8Route::{Cache, QuantizedModel};
use NmsTail::{Batched, Efficient, Onnx, Raw};

impl Target {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Trt8, Self::Trt10, Self::Trt11, Self::Ort, Self::DeepStream];

    /// What is known about it.
    pub fn facts(self) -> Facts {
        match self {
            // Of 8.0 to 8.6; from 8.4 on BatchedNMSDynamic is part of it, from 8.5 on NonMaxSuppression is.
            Self::Trt8 => Facts {
                name: "trt8",
                title: "TensorRT 8",
                tails: &[Batched, Efficient, Onnx, Raw],
                refused_tails: &[],
                int8: &[Cache, QuantizedModel],
                half: HalfRoute::BuilderFlag(TRTEXEC_HALF),
                cache_version: Some((8, 5, 3)),
            },
            Self::Trt10 => Facts {
                name: "trt10",
                title: "TensorRT 10",
                tails: &[Batched, Efficient, Onnx, Raw],
                refused_tails: &[],
                int8: &[QuantizedModel, Cache],
                half: HalfRoute::BuilderFlag(TRTEXEC_HALF),
                cache_version: Some((10, 3, 0)),
            },
            // Calibrators, precision flags and BatchedNMS are gone; EfficientNMS is there, but deprecated since 10.12.
            Self::Trt11 => Facts {
                name: "trt11",
                title: "TensorRT 11",
                tails: &[Raw, Efficient, Onnx],
                refused_tails: &[(Batched, "TensorRT 11 has no BatchedNMS plugin")],
                int8: &[QuantizedModel],
                half: HalfRoute::Model,
                cache_version: None,
            },
            Self::Ort => Facts {
                name: "ort",
                title: "ONNX Runtime",
                tails: &[Raw, Onnx],
                refused_tails: &[(Batched, NO_PLUGINS), (Efficient, NO_PLUGINS)],
                int8: &[QuantizedModel],
                half: HalfRoute::Model,
                cache_version: None,
            },
            Self::DeepStream => Facts {
                name: "deepstream",
                title: "DeepStream",
                tails: &[Batched],
                refused_tails: &[
                    (Efficient, "DeepStream's parser reads class ids as floats, EfficientNMS makes integers"),
                    (Onnx, PARSER_WANTS_BATCHED),
                    (Raw, PARSER_WANTS_BATCHED),
                ],
                int8: &[Cache, QuantizedModel],
                half: HalfRoute::BuilderFlag("network-mode=2 in the nvinfer configuration"),
                // That of DeepStream 7.1, the last with a sample of YOLOv4.
                cache_version: Some((10, 3, 0)),
            },
        }
    }

    /// The suppression node: the one asked for, or the default.
    ///
    /// # Errors
    /// When the target does not run it: why, and what to take instead.
    pub fn tail(self, asked: Option<NmsTail>) -> Result<NmsTail, UnfitTail> {
        let facts = self.facts();
        let tail = asked.unwrap_or(facts.tails[0]);
        if facts.tails.contains(&tail) { Ok(tail) } else { Err(UnfitTail { target: self, tail }) }
    }

    /// The numbers of the layers in the file.
    pub fn float_type(self, half: bool) -> FloatType {
        if half && self.facts().half == HalfRoute::Model { FloatType::F16 } else { FloatType::F32 }
    }
}

/// The parsers that come with DeepStream take four outputs by position, class ids as floats.
pub fn deepstream_reads(tail: NmsTail) -> bool {
    tail == Batched
}

/// A suppression node that a target does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct UnfitTail {
    /// What the model is for.
    pub target: Target,
    /// What was asked for.
    pub tail: NmsTail,
}

impl fmt::Display for UnfitTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = self.target.facts();
        let why = facts.refused_tails.iter().find(|(tail, _)| *tail == self.tail).map_or("", |(_, why)| *why);
        let mut instead: Vec<String> =
            facts.tails.iter().map(|tail| format!("--nms {}", tail.name())).collect();
        // The newest of those that run it.
        if let Some(other) =
            [Target::Trt10, Target::Trt11].iter().find(|t| t.facts().tails.contains(&self.tail))
        {
            instead.push(format!("--target {}", other.facts().name));
        }
        write!(
            f,
            "--target {} with --nms {}: {why}; use {}",
            facts.name,
            self.tail.name(),
            instead.join(", or ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_decides_every_question_once() {
        for target in Target::ALL {
            let facts = target.facts();
            // Each tail is either run or refused with a reason.
            for tail in NmsTail::ALL {
                let runs = facts.tails.iter().filter(|known| **known == tail).count();
                let refused = facts.refused_tails.iter().filter(|(known, _)| *known == tail).count();
                assert_eq!(runs + refused, 1, "{}: {tail:?}", facts.name);
                assert_eq!(target.tail(Some(tail)).is_ok(), runs == 1, "{}: {tail:?}", facts.name);
            }
            assert_eq!(target.tail(None), Ok(facts.tails[0]), "{}", facts.name);
            let routes =
                [Cache, QuantizedModel].map(|r| facts.int8.iter().filter(|known| **known == r).count());
            assert!(routes.iter().all(|count| *count <= 1) && routes.contains(&1), "{}", facts.name);
            // A cache needs a header.
            assert_eq!(facts.int8.contains(&Cache), facts.cache_version.is_some(), "{}", facts.name);
        }
        assert_eq!(
            Target::ALL.map(|target| target.facts().name),
            ["trt8", "trt10", "trt11", "ort", "deepstream"]
        );
    }

    /// The feature table of the fact sheet, and what it proposes.
    #[test]
    fn the_facts() {
        let default_tail = |target: Target| target.facts().tails[0];
        assert_eq!(Target::ALL.map(default_tail), [Batched, Batched, Raw, Raw, Batched]);
        let default_int8 = |target: Target| target.facts().int8[0];
        assert_eq!(
            Target::ALL.map(default_int8),
            [Cache, QuantizedModel, QuantizedModel, QuantizedModel, Cache]
        );
        let half = |target: Target| target.float_type(true);
        let [f32, f16] = [FloatType::F32, FloatType::F16];
        assert_eq!(Target::ALL.map(half), [f32, f32, f16, f16, f32]);
        assert!(Target::ALL.iter().all(|target| target.float_type(false) == f32));

        // TensorRT 11 has neither calibrators nor BatchedNMS nor a flag for half; all others of NVIDIA have.
        for target in [Target::Trt8, Target::Trt10, Target::Trt11, Target::DeepStream] {
            let (facts, is_11) = (target.facts(), target == Target::Trt11);
            assert_eq!(facts.tails.contains(&Batched), !is_11, "{}", facts.name);
            assert_eq!(facts.int8.contains(&Cache), !is_11, "{}", facts.name);
            assert_eq!(facts.half == HalfRoute::Model, is_11, "{}", facts.name);
        }
        // Q/DQ runs everywhere; plugins never in ONNX Runtime.
        assert!(Target::ALL.iter().all(|target| target.facts().int8.contains(&QuantizedModel)));
        assert_eq!(Target::Ort.facts().tails, [Raw, Onnx]);
        assert!(Target::DeepStream.facts().tails.iter().all(|tail| deepstream_reads(*tail)));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_does() {
        for (target, tail, message) in [
            (
                Target::Trt11,
                Batched,
                "--target trt11 with --nms batched: TensorRT 11 has no BatchedNMS plugin; \
                 use --nms none, or --nms efficient, or --nms onnx, or --target trt10",
            ),
            (
                Target::Ort,
                Efficient,
                "--target ort with --nms efficient: ONNX Runtime knows no TensorRT plugins; \
                 use --nms none, or --nms onnx, or --target trt10",
            ),
        ] {
            assert_eq!(target.tail(Some(tail)).unwrap_err().to_string(), message);
        }
    }
}
