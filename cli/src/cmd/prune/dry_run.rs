//! What thresholds save and cost.

use oxidet_compute::Executor;
use oxidet_graph::pass::prune::Pruner;
use oxidet_graph::{Checkpoint, Detector, Params, nms_from_spec};
use oxidet_proto::lint::Checked;
use oxidet_trainer::data::{Dataset, ImageStore};
use oxidet_trainer::evaluate::Evaluation;
use serde_json::{Value, json};

use super::Cost;
use crate::columns::{Align, columns};
use crate::console;
use crate::data::DataArgs;
use crate::exit::Failure;
use crate::format::{FormatArgs, print_json};
use crate::numbers::{mebibytes, percent, thousands};
use crate::progress;
use crate::table;

/// Validation images that mAP is measured on.
const SAMPLES: usize = 64;

/// A network and the way it is pruned.
pub(super) struct Sweep<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) pruner: &'a Pruner<'a>,
    /// With the validation data for mAP.
    pub(super) spec: Option<&'a Checked>,
}

impl Sweep<'_> {
    /// Prints a row for the whole network, for the thresholds 0.1, 0.2 … 0.9 and for `threshold`.
    pub(super) fn print(&self, threshold: f64, format: FormatArgs) -> Result<(), Failure> {
        let Checkpoint { detector, params, .. } = self.checkpoint;
        let mut thresholds: Vec<f64> = (1..=9u8).map(|tenth| f64::from(tenth) / 10.0).collect();
        if !thresholds.contains(&threshold) {
            thresholds.push(threshold);
            thresholds.sort_by(f64::total_cmp);
        }
        let sample = self.spec.map(|spec| Sample::open(spec, detector)).transpose()?;
        let images = sample.as_ref().map_or(0, |sample| sample.dataset.samples.len());
        let bar = progress::bar((images * (thresholds.len() + 1)) as u64, "evaluating");
        let map = |detector: &Detector, params: &Params| match &sample {
            Some(sample) => sample.map(detector, params, &|| bar.inc(1)),
            None => Ok(None),
        };

        let whole = Cost::of(detector)?;
        let unpruned = map(detector, params)?;
        let mut rows = vec![Row { threshold: None, cost: whole, map: unpruned }];
        // Neighbours are often the same network, which is made and measured once.
        let mut last = (self.pruner.plan(f64::NEG_INFINITY), whole, unpruned);
        for threshold in thresholds {
            let plan = self.pruner.plan(threshold);
            if plan == last.0 {
                bar.inc(images as u64);
            } else {
                let (pruned, cut) = plan.apply(detector, params);
                last = (plan, Cost::of(&pruned)?, map(&pruned, &cut)?);
            }
            rows.push(Row { threshold: Some(threshold), cost: last.1, map: last.2 });
        }
        bar.finish_and_clear();
        if format.is_json() {
            let rows: Vec<Value> = rows.iter().map(Row::to_json).collect();
            return print_json(&json!({ "images": images, "rows": rows }));
        }
        let heads = [
            ("threshold", Align::Left),
            ("parameters", Align::Right),
            ("", Align::Right),
            ("MACs", Align::Right),
            ("", Align::Right),
            ("size", Align::Right),
            ("mAP", Align::Right),
        ];
        let measured = sample.is_some();
        let rows: Vec<_> = rows.iter().map(|row| row.to_text(&whole, measured)).collect();
        console::print(&columns(heads, &rows));
        if measured {
            console::info(&format!("mAP of the first {images} validation images, before retraining"));
        }
        Ok(())
    }
}

/// A threshold, or none, and the network it leaves.
struct Row {
    threshold: Option<f64>,
    cost: Cost,
    map: Option<f64>,
}

impl Row {
    fn to_text(&self, whole: &Cost, measured: bool) -> [String; 7] {
        let Self { threshold, cost, map } = self;
        [
            threshold.map_or("unpruned".into(), |threshold| threshold.to_string()),
            thousands(cost.parameters),
            percent(cost.parameters, whole.parameters),
            cost.giga_macs(),
            percent(cost.macs, whole.macs),
            mebibytes(cost.bytes()),
            if measured { table::number(*map) } else { String::new() },
        ]
    }

    fn to_json(&self) -> Value {
        let mut row = self.cost.to_json();
        row["threshold"] = json!(self.threshold);
        row["map"] = json!(self.map);
        row
    }
}

/// The first images of the validation data.
struct Sample {
    evaluation: Evaluation,
    dataset: Dataset,
    store: ImageStore,
}

impl Sample {
    fn open(spec: &Checked, detector: &Detector) -> Result<Self, Failure> {
        let (mut dataset, store) = DataArgs::default().open_validation(spec)?;
        dataset.samples.truncate(SAMPLES);
        let nms = nms_from_spec(spec.nms());
        Ok(Self { evaluation: Evaluation::from_spec(spec, detector.preprocess.clone(), nms), dataset, store })
    }

    /// Mean average precision of a network.
    fn map(&self, detector: &Detector, params: &Params, each: &dyn Fn()) -> Result<Option<f64>, Failure> {
        let mut network =
            Executor::new(detector, params).map_err(|error| Failure::data(error.to_string()))?;
        let report = self.evaluation.run(&mut network, &self.dataset, &self.store, &mut |_| each())?;
        Ok(report.map)
    }
}
