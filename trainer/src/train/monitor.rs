//! What tells whether a run still improves: the best epoch, and when to stop before the last.

use oxidet_graph::BestEpoch;
use oxidet_proto::spec::TrainingConfig;

use super::Epoch;

/// The quantity that decides which epoch is best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantity {
    /// Mean training loss of the epoch, regularisation included.
    Loss,
    /// Loss on the validation images.
    ValidationLoss,
    /// Mean average precision.
    Map,
}

impl Quantity {
    /// As `early_stopping` names it.
    fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::ValidationLoss => "validation_loss",
            Self::Map => "mAP",
        }
    }
}

/// Finds the best epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Monitor {
    quantity: Quantity,
    /// How much better than the best an epoch must be to count.
    min_delta: f64,
    /// Epochs without improvement after which to stop.
    patience: Option<u32>,
}

impl Monitor {
    /// As `early_stopping` asks; without it, the epoch of the highest mean average precision is best and the run goes on to its
    /// end.
    pub(super) fn from_spec(training: &TrainingConfig) -> Self {
        let Some(early) = &training.early_stopping else {
            return Self { quantity: Quantity::Map, min_delta: 0.0, patience: None };
        };
        let quantity = match early.monitor.as_str() {
            "mAP" => Quantity::Map,
            "validation_loss" => Quantity::ValidationLoss,
            _ => Quantity::Loss,
        };
        Self { quantity, min_delta: early.min_delta.into(), patience: Some(early.patience) }
    }

    /// Whether `best` was found by this monitor.
    pub(super) fn found(&self, best: &BestEpoch) -> bool {
        best.monitor == self.quantity.name()
    }

    /// Whether every epoch must be validated, lest patience be counted in validations.
    pub(super) fn validates_every_epoch(&self) -> bool {
        self.patience.is_some() && self.quantity != Quantity::Loss
    }

    /// Updates `best` after an epoch. Returns whether the epoch is the new best.
    pub(super) fn improves(&self, epoch: &Epoch, best: &mut Option<BestEpoch>) -> bool {
        let validation = epoch.validation.as_ref();
        let value = match self.quantity {
            Quantity::Loss => Some(epoch.loss),
            Quantity::ValidationLoss => validation.map(|validation| validation.loss),
            Quantity::Map => validation.and_then(|validation| validation.report.map),
        };
        let Some(value) = value.filter(|value| value.is_finite()) else { return false };
        let improved = best.as_ref().is_none_or(|best| match self.quantity {
            Quantity::Map => value > best.value + self.min_delta,
            Quantity::Loss | Quantity::ValidationLoss => value < best.value - self.min_delta,
        });
        if improved {
            *best = Some(BestEpoch { epoch: epoch.epoch, monitor: self.quantity.name().into(), value });
        }
        improved
    }

    /// Whether the run should end with `epoch`. Where nothing has been best yet, patience counts from epoch `since`.
    pub(super) fn is_out_of_patience(&self, epoch: u32, best: Option<&BestEpoch>, since: u32) -> bool {
        let from = best.map_or(since, |best| best.epoch);
        self.patience.is_some_and(|patience| epoch.saturating_sub(from) >= patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxidet_proto::spec::EarlyStopping;

    /// The epoch that stops, and the best, for the losses of epochs 1, 2, ….
    fn run(patience: u32, min_delta: f32, losses: &[f64]) -> (Option<u32>, u32) {
        let early = EarlyStopping { monitor: "loss".into(), min_delta, patience };
        let monitor =
            Monitor::from_spec(&TrainingConfig { early_stopping: Some(early), ..TrainingConfig::default() });
        let mut best = None;
        for (number, loss) in (1..).zip(losses) {
            let epoch =
                Epoch { epoch: number, epochs: 99, loss: *loss, learning_rate: 0.1, validation: None };
            monitor.improves(&epoch, &mut best);
            if monitor.is_out_of_patience(number, best.as_ref(), 0) {
                return (Some(number), best.as_ref().map_or(0, |best| best.epoch));
            }
        }
        (None, best.as_ref().map_or(0, |best| best.epoch))
    }

    #[test]
    fn what_another_monitor_found_does_not_count() {
        let monitor = Monitor::from_spec(&TrainingConfig::default());
        let best = |monitor: &str| BestEpoch { epoch: 3, monitor: monitor.into(), value: 0.5 };
        assert!(monitor.found(&best("mAP")) && !monitor.found(&best("loss")));
        let early = EarlyStopping { monitor: "loss".into(), min_delta: 0.0, patience: 2 };
        let monitor =
            Monitor::from_spec(&TrainingConfig { early_stopping: Some(early), ..TrainingConfig::default() });
        assert!(!monitor.is_out_of_patience(5, None, 4), "patience counts from the resumed epoch");
        assert!(monitor.is_out_of_patience(6, None, 4));
    }

    /// The rule of Keras' EarlyStopping.
    #[test]
    fn patience_counts_epochs_without_improvement() {
        assert_eq!(run(2, 0.0, &[5.0, 4.0, 4.5, 4.0, 3.0]), (Some(4), 2));
        assert_eq!(run(3, 0.0, &[5.0, 4.0, 4.5, 4.0, 3.0]), (None, 5));
        assert_eq!(run(2, 0.5, &[5.0, 4.6, 4.5, 4.0]), (Some(3), 1));
        assert_eq!(run(1, 0.0, &[f64::NAN, 1.0]), (Some(1), 0));
    }
}
