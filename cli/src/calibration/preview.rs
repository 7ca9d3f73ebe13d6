//! What INT8 costs, before there is a device.

use std::path::Path;

use oxidet_graph::Checkpoint;
use oxidet_proto::lint::Checked;

use crate::checkpoint;
use crate::cmd::evaluate::evaluate;
use crate::columns::{Align, columns};
use crate::data::DataArgs;
use crate::exit::Failure;
use crate::table;

/// Average precision on the validation images.
pub struct Preview {
    pub map: Option<f64>,
    per_class: Vec<Option<f64>>,
}

impl Preview {
    /// Evaluates a network; `path` is for messages.
    pub fn of(path: &Path, spec: &Checked, checkpoint: &Checkpoint) -> Result<Self, Failure> {
        let report = evaluate(spec, &mut checkpoint::model(path, checkpoint, spec)?, &DataArgs::default())?;
        Ok(Self { map: report.map, per_class: report.per_class.iter().map(|class| class.ap).collect() })
    }

    /// A table of this network, in INT8, beside itself in float.
    pub fn beside(&self, float: &Self, classes: &[String]) -> String {
        let difference =
            |a: Option<f64>, b: Option<f64>| a.zip(b).map_or("-".into(), |(a, b)| format!("{:+.5}", b - a));
        let row = |name: &str, float: Option<f64>, int8: Option<f64>| {
            [name.to_owned(), table::number(float), table::number(int8), difference(float, int8)]
        };
        let per_class = classes.iter().zip(float.per_class.iter().zip(&self.per_class));
        let mut rows: Vec<[String; 4]> =
            per_class.map(|(class, (float, int8))| row(class, *float, *int8)).collect();
        rows.push(row("mAP", float.map, self.map));
        let right = |head| (head, Align::Right);
        columns([("class", Align::Left), right("float"), right("INT8"), right("difference")], &rows)
    }
}
