//! In what two specs differ.

use serde_json::Value as Json;

use super::Experiment;
use super::message::to_json;

/// A field with different values in two specs.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Such as `training_config.num_epochs` or `dataset_config.data_sources[0].label_directory_path`.
    pub path: String,
    /// The value in the first; `None` when it is not set, or set to its default.
    pub before: Option<Json>,
    /// The value in the second; `None` as above.
    pub after: Option<Json>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = |value: &Option<Json>| value.as_ref().map_or("not set".to_owned(), Json::to_string);
        write!(f, "{}: {}, was {}", self.path, value(&self.after), value(&self.before))
    }
}

/// The fields that differ, in the order of the schema; fields of the second only come after the others of their message.
pub fn differences(before: &Experiment, after: &Experiment) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", Some(&to_json(before)), Some(&to_json(after)), &mut found);
    found
}

fn compare(path: &str, before: Option<&Json>, after: Option<&Json>, found: &mut Vec<Difference>) {
    let members = |value: Option<&Json>| -> Option<Vec<String>> {
        match value {
            None => Some(Vec::new()),
            Some(Json::Object(members)) => Some(members.keys().map(|key| format!(".{key}")).collect()),
            Some(Json::Array(items)) => Some((0..items.len()).map(|i| format!("[{i}]")).collect()),
            Some(_) => None,
        }
    };
    let member = |value: Option<&Json>, key: &str| -> Option<Json> {
        match value? {
            Json::Object(members) => members.get(&key[1..]).cloned(),
            Json::Array(items) => items.get(key[1..key.len() - 1].parse::<usize>().ok()?).cloned(),
            _ => None,
        }
    };
    match (members(before), members(after)) {
        (Some(mut keys), Some(more)) if before.is_some() || after.is_some() => {
            keys.extend(more.into_iter().filter(|key| member(before, key).is_none()));
            for key in keys {
                let path = if path.is_empty() { key[1..].to_owned() } else { format!("{path}{key}") };
                compare(&path, member(before, &key).as_ref(), member(after, &key).as_ref(), found);
            }
        }
        _ if before != after => {
            found.push(Difference { path: path.to_owned(), before: before.cloned(), after: after.cloned() });
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::parse_experiment;

    #[test]
    fn every_field_that_differs_is_named_once() {
        let before = "random_seed: 1 training_config { num_epochs: 5 optimizer { adam { beta1: 0.9 } } } \
                      dataset_config { data_sources { label_directory_path: 'a' } \
                      target_class_mapping { key: 'car' value: 'car' } }";
        let after = "random_seed: 1 training_config { num_epochs: 6 optimizer { sgd { momentum: 0.5 } } } \
                     dataset_config { data_sources { label_directory_path: 'a' } data_sources { tfrecords_path: 'b' } \
                     target_class_mapping { key: 'van' value: 'car' } }";
        let [before, after] = [before, after].map(|text| parse_experiment("spec", text).unwrap().message);
        let found: Vec<String> = differences(&before, &after).iter().map(Difference::to_string).collect();
        assert_eq!(
            found,
            [
                "dataset_config.data_sources[1].tfrecords_path: \"b\", was not set",
                "dataset_config.target_class_mapping.car: not set, was \"car\"",
                "dataset_config.target_class_mapping.van: \"car\", was not set",
                "training_config.num_epochs: 6, was 5",
                "training_config.optimizer.adam.beta1: not set, was 0.9",
                "training_config.optimizer.sgd.momentum: 0.5, was not set",
            ]
        );
        assert!(differences(&before, &before).is_empty());
    }
}
