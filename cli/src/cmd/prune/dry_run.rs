//! What thresholds save and cost.

use oxidet_graph::pass::prune::Pruner;
use oxidet_graph::{Checkpoint, Detector, Params};
use oxidet_proto::lint::Checked;
use oxidet_trainer::data::{Dataset, ImageStore};
use oxidet_trainer::evaluate::{DEFAULT_SCORE, Evaluation};
use oxidet_trainer::interp::Executor;

use super::{Cost, MIB, thousands};
use crate::cmd::evaluate::evaluation;
use crate::console;
use crate::data::DataArgs;
use crate::exit::Failure;
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
    pub(super) fn print(&self, threshold: f64) -> Result<(), Failure> {
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
            Some(sample) => Ok(format!("  {:>8}", sample.map(detector, params, &|| bar.inc(1))?)),
            None => Ok::<_, Failure>(String::new()),
        };

        let whole = Cost::of(detector)?;
        let column = thresholds.iter().map(|threshold| threshold.to_string().len()).fold(9, usize::max);
        let row = |threshold: &str, cost: &Cost| format!("{threshold:<column$}  {}", cost_of(cost, &whole));
        let mut lines = vec![format!(
            "{:<column$}  {:>12}          {:>12}          {:>9}         {}",
            "threshold",
            "parameters",
            "MACs",
            "MiB",
            if sample.is_some() { "      mAP" } else { "" }
        )];
        lines.push(row("unpruned", &whole) + &map(detector, params)?);
        for threshold in thresholds {
            let (pruned, cut) = self.pruner.plan(threshold).apply(detector, params);
            lines.push(row(&threshold.to_string(), &Cost::of(&pruned)?) + &map(&pruned, &cut)?);
        }
        bar.finish_and_clear();
        console::print(&lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n"));
        if sample.is_some() {
            console::info(&format!("mAP of the first {images} validation images, before retraining"));
        }
        Ok(())
    }
}

/// What a network costs, each with its share of the whole one's.
fn cost_of(cost: &Cost, whole: &Cost) -> String {
    let share = |part: f64, whole: f64| format!("{:>5.1} %", 100.0 * part / whole);
    let of_parameters = share(cost.parameters as f64, whole.parameters as f64);
    let of_macs = share(cost.macs as f64, whole.macs as f64);
    // Checkpoints hold parameters as 32-bit floats.
    let size = cost.parameters as f64 * 4.0 / MIB;
    format!(
        "{:>12} {of_parameters}  {:>12} {of_macs}  {size:>9.1} {of_parameters}",
        thousands(cost.parameters),
        cost.giga_macs()
    )
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
        Ok(Self { evaluation: evaluation(spec, &detector.preprocess, DEFAULT_SCORE), dataset, store })
    }

    /// Mean average precision of a network.
    fn map(&self, detector: &Detector, params: &Params, each: &dyn Fn()) -> Result<String, Failure> {
        let mut network =
            Executor::new(detector, params).map_err(|error| Failure::data(error.to_string()))?;
        let report = self.evaluation.run(&mut network, &self.dataset, &self.store, &mut |_| each())?;
        Ok(table::number(report.map))
    }
}
