//! What a rule is: a code, whom it concerns, and a check, most often that a number lies in a range.

use std::fmt;

use super::findings::Findings;

/// What a spec is wanted for. A rule that does not concern the verb is not applied: an export needs no
/// training data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Training.
    Train,
    /// Average precision on the validation data.
    Evaluate,
    /// Detections of images.
    Inference,
    /// The deployable model.
    Export,
    /// A checkpoint from weights of another program.
    Import,
    /// A smaller network.
    Prune,
    /// Anchors for the training data; those of the spec may be missing.
    Kmeans,
    /// A look at the data. That there is none is for whoever looks to say.
    Dataset,
}

pub(super) const ALL: &[Verb] = &[
    Verb::Train,
    Verb::Evaluate,
    Verb::Inference,
    Verb::Export,
    Verb::Import,
    Verb::Prune,
    Verb::Kmeans,
    Verb::Dataset,
];
/// Whoever builds or runs a network.
pub(super) const NETWORK: &[Verb] =
    &[Verb::Train, Verb::Evaluate, Verb::Inference, Verb::Export, Verb::Import, Verb::Prune];
pub(super) const TRAIN: &[Verb] = &[Verb::Train];
/// Whoever reads the training data.
pub(super) const TRAINING_DATA: &[Verb] = &[Verb::Train, Verb::Kmeans, Verb::Dataset];
pub(super) const TRAIN_EVALUATE: &[Verb] = &[Verb::Train, Verb::Evaluate];
/// Whoever reads the validation data.
pub(super) const VALIDATION_DATA: &[Verb] = &[Verb::Train, Verb::Evaluate, Verb::Dataset];
pub(super) const BATCHED: &[Verb] = &[Verb::Train, Verb::Evaluate, Verb::Inference];
pub(super) const EXPORT: &[Verb] = &[Verb::Export];

/// One thing a spec must, or had better, fulfil.
#[derive(Debug)]
pub(super) struct Rule<M: 'static> {
    pub(super) code: &'static str,
    pub(super) verbs: &'static [Verb],
    check: Check<M>,
}

#[derive(Debug)]
enum Check<M: 'static> {
    Range { path: &'static str, read: fn(&M) -> Option<f64>, bounds: Bounds, why: &'static str },
    Test { demand: &'static str, test: fn(&M, &mut Findings<'_>) },
}

impl<M> Rule<M> {
    /// The number at `path` lies in `bounds`; `read` gives `None` when the message around it is not there.
    /// `why` says what the number is.
    pub(super) const fn range(
        code: &'static str,
        verbs: &'static [Verb],
        path: &'static str,
        read: fn(&M) -> Option<f64>,
        bounds: Bounds,
        why: &'static str,
    ) -> Self {
        Self { code, verbs, check: Check::Range { path, read, bounds, why } }
    }

    /// Anything else: `test` adds what it finds. `demand` is the rule in one sentence.
    pub(super) const fn test(
        code: &'static str,
        verbs: &'static [Verb],
        demand: &'static str,
        test: fn(&M, &mut Findings<'_>),
    ) -> Self {
        Self { code, verbs, check: Check::Test { demand, test } }
    }

    pub(super) fn demand(&self) -> String {
        match &self.check {
            Check::Range { path, bounds, .. } => format!("`{path}` must be {bounds}"),
            Check::Test { demand, .. } => (*demand).to_owned(),
        }
    }

    pub(super) fn apply(&self, message: &M, findings: &mut Findings<'_>) {
        findings.code = self.code;
        match &self.check {
            Check::Test { test, .. } => test(message, findings),
            Check::Range { path, read, bounds, why } => {
                if let Some(value) = read(message).filter(|&value| !bounds.contains(value)) {
                    let field = path.rsplit('.').next().unwrap_or(path);
                    let message = match findings.written(path) {
                        Some(written) => format!("`{field}` is {written}, must be {bounds}"),
                        None => format!("`{field}` is missing, which means {value}; it must be {bounds}"),
                    };
                    findings.error(path, message).reason(*why);
                }
            }
        }
    }
}

/// An interval of decimal numbers, as the documentation writes them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    low: f64,
    low_included: bool,
    high: f64,
    high_included: bool,
}

pub(super) const fn at_least(low: f64) -> Bounds {
    Bounds { low, low_included: true, high: f64::INFINITY, high_included: false }
}

pub(super) const fn above(low: f64) -> Bounds {
    Bounds { low, low_included: false, high: f64::INFINITY, high_included: false }
}

impl Bounds {
    pub(super) const fn up_to(self, high: f64) -> Self {
        Self { high, high_included: true, ..self }
    }

    pub(super) const fn below(self, high: f64) -> Self {
        Self { high, high_included: false, ..self }
    }

    /// Whether `value`, a widened `f32` or a whole number, is inside. A bound is compared as the `f32` that
    /// the same decimal becomes in a spec. NaN and infinity are never inside.
    fn contains(self, value: f64) -> bool {
        let (low, high) = (f64::from(self.low as f32), f64::from(self.high as f32));
        (value > low || self.low_included && value == low)
            && (value < high || self.high_included && value == high)
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { low, high, .. } = self;
        match (self.low_included, self.high_included) {
            (true, _) if high.is_infinite() => write!(f, "at least {low}"),
            (false, _) if high.is_infinite() => write!(f, "above {low}"),
            (true, true) => write!(f, "from {low} to {high}"),
            (true, false) => write!(f, "at least {low} and below {high}"),
            (false, true) => write!(f, "above {low} and at most {high}"),
            (false, false) => write!(f, "between {low} and {high}, both excluded"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_mean_the_decimal_that_is_written() {
        for (bounds, inside, outside) in [
            (at_least(0.0).up_to(0.3), vec![0.0, 0.3], vec![-0.001, 0.300_001]),
            (above(0.25).up_to(1.0), vec![0.250_001, 1.0], vec![0.25, 1.000_001]),
            (above(0.0).below(0.5), vec![1e-30, 0.499], vec![0.0, 0.5]),
            (at_least(1.0), vec![1.0, 1e30], vec![0.999]),
        ] {
            for value in inside {
                assert!(bounds.contains(f64::from(value as f32)), "{value} {bounds}");
            }
            for value in outside.into_iter().chain([f64::NAN, f64::INFINITY, f64::NEG_INFINITY]) {
                assert!(!bounds.contains(f64::from(value as f32)), "{value} {bounds}");
            }
        }
    }
}
