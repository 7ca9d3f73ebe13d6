//! `class_weighting_config`.

use crate::lint::findings::Findings;
use crate::lint::rule::{Rule, TRAIN};
use crate::prototxt::closest;
use crate::prototxt::limits::MAX_PROBLEMS;
use crate::spec::{ClassMap, Experiment};

pub(super) const RULES: &[Rule<Experiment>] = &[
    Rule::test("S601", TRAIN, "class weights should be of target classes, in lower case", keys_are_classes),
    Rule::test("S602", TRAIN, "class weights must be at least 0", |spec, findings| {
        for (class, &weight) in &spec.class_weighting().class_weighting {
            if !(weight >= 0.0 && weight.is_finite()) {
                findings.error(&path(class), format!("the weight of `{class}` must be at least 0"));
            }
        }
    }),
];

fn path(class: &str) -> String {
    format!("class_weighting_config.class_weighting[{class:?}]")
}

fn keys_are_classes(spec: &Experiment, findings: &mut Findings<'_>) {
    let classes = ClassMap::new(&spec.dataset().target_class_mapping);
    // Of thousands of classes nobody can mean one by accident, and comparing with all takes long.
    let names = || classes.names().iter().map(String::as_str).take(1000);
    if classes.is_empty() {
        return;
    }
    let keys = spec.class_weighting().class_weighting.keys();
    for class in keys.filter(|key| classes.names().binary_search(key).is_err()).take(MAX_PROBLEMS) {
        let message = format!("there is no target class `{class}`; its weight has no effect");
        let finding = findings.name_warning(&path(class), message);
        match (closest(class, names()), classes.lookup(class).and_then(|id| classes.names().get(id))) {
            (Some(near), _) if near.eq_ignore_ascii_case(class) => {
                finding.help(format!("write `{near}`: target classes are lower-case"))
            }
            (_, Some(target)) => finding.help(format!("`{class}` is trained as `{target}`")),
            (Some(near), None) => finding.help(format!("did you mean `{near}`?")),
            (None, None) => finding
                .help(format!("the target classes are {}", names().take(20).collect::<Vec<_>>().join(", "))),
        };
    }
}
