//! The epochs of a run: `history.json`.
//!
//! An object with `arch`, `classes`, and `epochs`, an array of one object per epoch. Numbers are numbers; what an epoch does not
//! have, because it was not validated, is `null`. Nothing in it depends on the clock, so equal runs write equal files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::train::Epoch;

/// The epochs of a run so far, across the times it was stopped and resumed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct History {
    pub(super) arch: String,
    pub(super) classes: Vec<String>,
    pub(super) epochs: Vec<Record>,
}

/// One epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// From 1.
    pub(super) epoch: u32,
    pub(super) loss: Option<f64>,
    pub(super) learning_rate: Option<f64>,
    pub(super) validation_loss: Option<f64>,
    pub(super) map: Option<f64>,
    /// By class name.
    pub(super) ap: BTreeMap<String, Option<f64>>,
}

impl History {
    /// What a file tells of the epochs up to `epoch` of a run with these classes; nothing when it is not such a file.
    pub(super) fn read(text: &str, arch: &str, classes: &[String], epoch: u32) -> Self {
        let mut history: Self = serde_json::from_str(text).unwrap_or_default();
        if history.arch != arch || history.classes != classes {
            history = Self { arch: arch.into(), classes: classes.to_vec(), epochs: Vec::new() };
        }
        history.epochs.retain(|record| record.epoch <= epoch);
        history
    }

    pub(super) fn push(&mut self, epoch: &Epoch) {
        let validation = epoch.validation.as_ref();
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        let ap = self.classes.iter().enumerate().map(|(class, name)| {
            (name.clone(), validation.and_then(|validation| validation.report.per_class[class].ap))
        });
        self.epochs.push(Record {
            epoch: epoch.epoch,
            loss: finite(epoch.loss),
            learning_rate: finite(epoch.learning_rate),
            validation_loss: validation.and_then(|validation| finite(validation.loss)),
            map: validation.and_then(|validation| validation.report.map),
            ap: ap.collect(),
        });
    }

    /// The file, a line for each epoch.
    pub(super) fn to_json(&self) -> String {
        let epochs: Vec<String> =
            self.epochs.iter().map(|record| format!("    {}", serde_json::json!(record))).collect();
        format!(
            "{{\n  \"arch\": {},\n  \"classes\": {},\n  \"epochs\": [\n{}\n  ]\n}}\n",
            serde_json::json!(self.arch),
            serde_json::json!(self.classes),
            epochs.join(",\n")
        )
    }

    /// The validated epoch with the highest mean average precision, the first of equals.
    pub(super) fn best(&self) -> Option<(&Record, f64)> {
        let validated = self.epochs.iter().filter_map(|record| Some((record, record.map?)));
        validated.reduce(|best, next| if next.1 > best.1 { next } else { best })
    }

    /// (epoch, value) of the epochs that have it.
    pub(super) fn curve(&self, value: impl Fn(&Record) -> Option<f64>) -> Vec<(f64, f64)> {
        self.epochs.iter().filter_map(|record| Some((f64::from(record.epoch), value(record)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(epoch: u32) -> Epoch {
        Epoch { epoch, epochs: 9, loss: 0.1 + f64::from(epoch), learning_rate: 1e-3, validation: None }
    }

    #[test]
    fn a_resumed_run_goes_on_from_the_epochs_before() {
        let classes = vec!["a \"cat\"".to_owned(), "dog".to_owned()];
        let mut history = History::read("", "net", &classes, 0);
        (1..=4).for_each(|number| history.push(&epoch(number)));
        let text = history.to_json();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["epochs"][3]["loss"], 4.1);
        assert!(value["epochs"][3]["ap"]["dog"].is_null());

        let mut resumed = History::read(&text, "net", &classes, 2);
        assert_eq!(resumed.epochs, history.epochs[..2]);
        (3..=4).for_each(|number| resumed.push(&epoch(number)));
        assert_eq!(resumed.to_json(), text);
        for other in ["{}", "[1]", "nonsense", &text[..text.len() / 2], &text.replace("net", "other")] {
            assert_eq!(History::read(other, "net", &classes, 9).epochs, [], "{other}");
        }
    }

    #[test]
    fn the_best_epoch_is_the_first_of_equals() {
        let mut history = History::read("", "net", &[], 0);
        for (number, map) in [(1, None), (2, Some(0.5)), (3, Some(0.75)), (4, Some(0.75)), (5, Some(0.25))] {
            history.push(&epoch(number));
            history.epochs.last_mut().unwrap().map = map;
        }
        assert_eq!(history.best().map(|(record, map)| (record.epoch, map)), Some((3, 0.75)));
        assert_eq!(history.curve(|record| record.map).len(), 4);
    }
}
