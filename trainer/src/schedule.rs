//! Learning-rate schedules of the original, as functions of progress p = step / steps of the run.

use oxidet_proto::spec::LearningRateConfig;

/// A learning rate over a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// Rises exponentially from `min` to `max` until p = `soft_start`, stays, and falls exponentially back from
    /// p = `annealing` on.
    Annealing {
        /// Rate at both ends.
        min: f64,
        /// Rate in between.
        max: f64,
        /// End of the rise.
        soft_start: f64,
        /// Start of the fall.
        annealing: f64,
    },
    /// Rises linearly from `min` to `max` until p = `soft_start`, then follows a cosine that would reach `min` at
    /// p = 1 + `soft_start`: a run ends above its minimum.
    Cosine {
        /// Rate at the start.
        min: f64,
        /// Rate at the top.
        max: f64,
        /// End of the rise.
        soft_start: f64,
    },
}

impl Schedule {
    /// The schedule of a spec; `None` when it names none.
    pub fn from_spec(spec: &LearningRateConfig) -> Option<Self> {
        if let Some(s) = &spec.soft_start_annealing_schedule {
            return Some(Self::Annealing {
                min: s.min_learning_rate.into(),
                max: s.max_learning_rate.into(),
                soft_start: s.soft_start.into(),
                annealing: s.annealing.into(),
            });
        }
        let s = spec.soft_start_cosine_annealing_schedule.as_ref()?;
        Some(Self::Cosine {
            min: s.min_learning_rate.into(),
            max: s.max_learning_rate.into(),
            soft_start: s.soft_start.into(),
        })
    }

    /// The rate at progress `p` in [0, 1].
    pub fn rate(&self, p: f64) -> f64 {
        match *self {
            Self::Annealing { min, max, soft_start, annealing } => {
                let t = if p < soft_start {
                    p / soft_start
                } else if p > annealing {
                    (1.0 - p) / (1.0 - annealing)
                } else {
                    1.0
                };
                (min.ln() + t * (max.ln() - min.ln())).exp()
            }
            Self::Cosine { min, max, soft_start } => {
                let t = if p < soft_start {
                    p / soft_start
                } else {
                    (1.0 + (std::f64::consts::PI * (p - soft_start)).cos()) / 2.0
                };
                min + (max - min) * t
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by the original.
    #[test]
    fn golden_values() {
        let annealing = Schedule::Annealing { min: 1e-5, max: 1e-2, soft_start: 0.1, annealing: 0.5 };
        let cosine = Schedule::Cosine { min: 1e-7, max: 1e-4, soft_start: 0.3 };
        for (schedule, p, want) in [
            (annealing, 0.0, 1e-5),
            (annealing, 0.05, 3.1622777e-4),
            (annealing, 0.1, 1e-2),
            (annealing, 0.5, 1e-2),
            (annealing, 0.65, 1.2589254e-3),
            (annealing, 0.75, 3.1622777e-4),
            (annealing, 1.0, 1e-5),
            (cosine, 0.0, 1e-7),
            (cosine, 0.05, 1.675e-5),
            (cosine, 0.1, 3.34e-5),
            (cosine, 0.3, 1e-4),
            (cosine, 0.5, 9.0460399e-5),
            (cosine, 0.65, 7.2726825e-5),
            (cosine, 0.75, 5.7863902e-5),
            (cosine, 1.0, 2.0690127e-5),
        ] {
            let got = schedule.rate(p);
            assert!((got / want - 1.0).abs() < 1e-6, "{schedule:?} at {p}: {got} {want}");
        }
    }

    #[test]
    fn without_rise_or_fall_the_rate_is_the_maximum() {
        let flat = Schedule::Annealing { min: 1e-5, max: 1e-2, soft_start: 0.0, annealing: 1.0 };
        for p in [0.0, 0.5, 1.0] {
            assert!((flat.rate(p) - 1e-2).abs() < 1e-12);
        }
    }
}
