//! What the weights of a layer are, by their names in any version of Keras, or by their place.

/// Names of a weight, with what it is.
const ROLES: [(&str, &[&str]); 6] = [
    ("kernel", &["kernel", "depthwise_kernel", "_W"]),
    ("bias", &["bias", "_b"]),
    ("gamma", &["gamma"]),
    ("beta", &["beta"]),
    ("moving_mean", &["moving_mean", "running_mean"]),
    // Keras 1 calls the variance `std`.
    ("moving_variance", &["moving_variance", "running_std"]),
];

/// The weights of a batch normalisation, in the order in which Keras stores them.
const BATCH_NORM: [&str; 4] = ["gamma", "beta", "moving_mean", "moving_variance"];

/// The part of a name before `:0`, TensorFlow's number of an output.
fn stem(name: &str) -> &str {
    name.split_once(':').map_or(name, |(stem, _)| stem)
}

fn role(name: &str) -> Option<&'static str> {
    let stem = stem(name);
    let fits = |suffix: &&str| {
        stem == *suffix || (stem.ends_with(suffix) && stem.len() > suffix.len() && separated(stem, suffix))
    };
    ROLES.iter().find(|(_, names)| names.iter().any(&fits)).map(|(role, _)| *role)
}

/// Whether what is before the suffix is a word of its own: `bn_gamma`, not `xgamma`.
fn separated(stem: &str, suffix: &str) -> bool {
    suffix.starts_with('_') || stem[..stem.len() - suffix.len()].ends_with('_')
}

/// Whether a name, without its path, says what the weight is.
pub(super) fn is_role(name: &str) -> bool {
    role(name).is_some()
}

/// What each weight of one layer is. Where the names do not tell, as in some files of Keras 1 and in all of Keras 3, the place does.
pub(super) fn roles(names: &[&str], shapes: &[&[usize]]) -> Vec<String> {
    let named: Option<Vec<&str>> = names.iter().map(|name| role(name)).collect();
    let placed: Option<&[&str]> = match shapes {
        [[_, _, _, _]] => Some(&["kernel"]),
        [[_, _, _, _], [_]] => Some(&["kernel", "bias"]),
        [[_], [_], [_], [_]] => Some(&BATCH_NORM),
        _ => None,
    };
    match (named, placed) {
        (Some(roles), _) => roles.into_iter().map(str::to_owned).collect(),
        (None, Some(roles)) => roles.iter().map(|role| (*role).to_owned()).collect(),
        (None, None) => names.iter().map(|name| stem(name).to_owned()).collect(),
    }
}
