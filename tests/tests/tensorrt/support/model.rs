//! ONNX files of detectors, with orders for the fake in their metadata.

use oxidet_proto::onnx::{
    AttributeProto, DataType, Dim, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto,
    ValueInfoProto,
};
use oxidet_runtime::Artifact;

/// A detector of 2 classes on images of 3x4x6 with 5 candidates.
#[derive(Clone, Copy, Default)]
pub struct Model<'a> {
    /// Images, if they are fixed.
    pub batch: Option<usize>,
    pub tail: Tail,
    pub quantized: bool,
    pub half: bool,
    /// It says what its classes are, how images are fed to it and how to suppress.
    pub described: bool,
    /// More lines for the fake.
    pub orders: &'a str,
}

#[derive(Clone, Copy, Default, PartialEq)]
pub enum Tail {
    #[default]
    Raw,
    Batched,
    Efficient,
}

impl Model<'_> {
    pub fn artifact(&self) -> Artifact {
        Artifact::load(&self.onnx(), None).unwrap()
    }

    pub fn onnx(&self) -> Vec<u8> {
        let batch = self.batch.map_or(Dim::Symbol("N"), |batch| Dim::Fixed(batch as i64));
        let float = |name: &str, dims: &[i64]| {
            let dims: Vec<Dim<'_>> =
                std::iter::once(batch).chain(dims.iter().map(|dim| Dim::Fixed(*dim))).collect();
            ValueInfoProto::tensor(name, DataType::Float, &dims)
        };
        let mut graph = GraphProto { name: "detector".into(), ..GraphProto::default() };
        graph.input.push(float("Input", &[3, 4, 6]));
        graph.node.push(NodeProto::new("Conv", "conv_1/convolution", ["Input", "kernel"], ["conv_1"]));
        graph.node.push(NodeProto::new("Mish", "conv_1/mish", ["conv_1"], ["x"]));
        if self.quantized {
            graph.node.push(NodeProto::new("QuantizeLinear", "q", ["x", "step"], ["y"]));
        }
        graph.node.push(NodeProto::new("Conv", "head", ["x", "kernel"], ["boxes"]));
        graph.node.push(NodeProto::new("Sigmoid", "cls", ["x"], ["scores"]));
        let kernel = [1.0, 2.0];
        graph.initializer.push(if self.half {
            TensorProto::f16s("kernel", &[2], &kernel).unwrap()
        } else {
            TensorProto::f32("kernel", &[2], &kernel)
        });
        graph.output = vec![float("boxes", &[5, 4]), float("scores", &[5, 2])];
        match self.tail {
            Tail::Raw => {}
            Tail::Batched => {
                let outputs = ["BatchedNMS", "BatchedNMS_1", "BatchedNMS_2", "BatchedNMS_3"];
                let node = NodeProto::new("BatchedNMSDynamic_TRT", "nms", ["boxes", "scores"], outputs)
                    .attr(AttributeProto::int("backgroundLabelId", -1))
                    .attr(AttributeProto::int("topK", 8))
                    .attr(AttributeProto::int("keepTopK", 3))
                    .attr(AttributeProto::int("numClasses", 2))
                    .attr(AttributeProto::float("scoreThreshold", 0.1))
                    .attr(AttributeProto::float("iouThreshold", 0.5));
                graph.node.push(node);
                graph.output = outputs.map(|name| ValueInfoProto::unshaped(name, DataType::Float)).into();
            }
            Tail::Efficient => {
                let outputs = ["num_detections", "detection_boxes", "detection_scores", "detection_classes"];
                let node = NodeProto::new("EfficientNMS_TRT", "nms", ["boxes", "scores"], outputs)
                    .attr(AttributeProto::int("max_output_boxes", 3))
                    .attr(AttributeProto::float("score_threshold", 0.1))
                    .attr(AttributeProto::float("iou_threshold", 0.5));
                graph.node.push(node);
                graph.output = outputs.map(|name| ValueInfoProto::unshaped(name, DataType::Float)).into();
            }
        }
        let orders = format!("[fake]\n{}{}\n\n[end]", self.description(), self.orders);
        let mut entries = vec![StringStringEntryProto::new("fake", &orders)];
        // The node of the first does not tell the classes, so the model does.
        if self.tail == Tail::Efficient || self.described {
            entries.push(StringStringEntryProto::new("labels", r#"["cat","dog"]"#));
            let preprocess = oxidet_vision::Preprocess::new(6, 4, 3);
            let preprocess = serde_json::to_string(&preprocess).unwrap();
            entries.push(StringStringEntryProto::new("preprocess", &preprocess));
            entries.push(StringStringEntryProto::new("heads", "[]"));
            if self.described {
                let nms = r#"{"score_threshold":0.1,"iou_threshold":0.5,"top_k":8,"keep_top_k":3}"#;
                entries.push(StringStringEntryProto::new("nms", nms));
            }
        }
        let model = ModelProto {
            ir_version: 8,
            graph: Some(graph),
            metadata_props: entries,
            ..ModelProto::default()
        };
        model.to_bytes()
    }

    fn description(&self) -> String {
        let n = self.batch.map_or("-1".to_owned(), |batch| batch.to_string());
        let outputs = match self.tail {
            Tail::Raw => format!("output boxes float {n} 5 4\noutput scores float {n} 5 2\n"),
            Tail::Batched => format!(
                "output BatchedNMS int32 {n} 1\noutput BatchedNMS_1 float {n} 3 4\noutput BatchedNMS_2 float {n} 3\n\
                output BatchedNMS_3 float {n} 3\n"
            ),
            Tail::Efficient => format!(
                "output num_detections int32 {n} 1\noutput detection_boxes float {n} 3 4\n\
                output detection_scores float {n} 3\noutput detection_classes int32 {n} 3\n"
            ),
        };
        format!(
            "input Input {n} 3 4 6\n{outputs}layer conv_1/convolution convolution\nlayer conv_1/mish other\n\
            layer head convolution\nlayer conv_10 convolution\n"
        )
    }
}

/// Values of images that are not alike.
pub fn images(count: usize) -> Vec<f32> {
    (0..count * 72).map(|at| at as f32 * 0.25 - 3.0).collect()
}
