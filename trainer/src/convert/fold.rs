//! Dealing images to folds.

use rand::seq::SliceRandom;

use super::item::Item;
use super::{ConvertError, FoldSummary};
use crate::data::random::{Purpose, rng};

/// Images of one fold in the order of their records.
pub(super) struct Fold {
    /// Number of this fold and of all; `of` 0 leaves them out of file names.
    pub(super) index: u32,
    pub(super) of: u32,
    pub(super) role: Role,
    /// Files of this fold; 0 is one file without a number.
    pub(super) shards: u32,
    pub(super) items: Vec<Item>,
    /// What the images' folder is called below the image root; empty for the root itself.
    pub(super) folder: String,
}

/// What a fold is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Training.
    #[default]
    Training,
    /// Validation.
    Validation,
}

impl Role {
    /// As a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Validation => "validation",
        }
    }
}

impl Fold {
    pub(super) fn summary(&self) -> FoldSummary {
        FoldSummary {
            index: self.index,
            of: self.of,
            role: self.role,
            images: self.items.len(),
            ..FoldSummary::default()
        }
    }
}

/// Shuffles; each purpose, numbered by `stream`, in its own way.
fn shuffle<T>(items: &mut [T], seed: u64, stream: u64) {
    items.shuffle(&mut rng(seed, 0, stream, Purpose::Order));
}

/// Two folds by chance: 0 validates with `percent` of the images, rounded down, 1 trains. Without validation there is
/// only fold 1, so that nothing takes the training data for the validation fold.
pub(super) fn random(
    mut items: Vec<Item>,
    percent: f32,
    shards: u32,
    seed: u64,
) -> Result<Vec<Fold>, ConvertError> {
    let images = items.len();
    let validate = (f64::from(percent) / 100.0 * images as f64).floor() as usize;
    if validate == 0 && percent > 0.0 {
        return Err(ConvertError::EmptyValidation { percent, images });
    }
    shuffle(&mut items, seed, 0);
    let train = items.split_off(validate);
    let fold = |index, role, items| Fold { index, of: 2, role, shards, items, folder: String::new() };
    let training = fold(1, Role::Training, train);
    if validate == 0 {
        return Ok(vec![training]);
    }
    Ok(vec![fold(0, Role::Validation, items), training])
}

/// Whole sequences, dealt in turn, longest first; the first turn goes to the last fold. 0 and 1 `folds` are one.
pub(super) fn by_sequence(
    mut sequences: Vec<(String, Vec<Item>)>,
    folds: u32,
    shards: u32,
    validation_fold: Option<u32>,
    seed: u64,
) -> Result<Vec<Fold>, ConvertError> {
    let count = folds.max(1) as usize;
    if count > sequences.len() {
        return Err(ConvertError::TooManyFolds { folds, sequences: sequences.len() });
    }
    sequences.sort_by(|(a, x), (b, y)| y.len().cmp(&x.len()).then_with(|| a.cmp(b)));
    let mut dealt: Vec<Vec<Item>> = (0..count).map(|_| Vec::new()).collect();
    for (turn, (_, items)) in sequences.into_iter().enumerate() {
        dealt[count - 1 - turn % count].extend(items);
    }
    let fold = |(index, mut items): (u32, Vec<Item>)| {
        shuffle(&mut items, seed, 1 + u64::from(index));
        let role = role(index, validation_fold);
        Fold { index, of: folds, role, shards, items, folder: String::new() }
    };
    Ok((0..).zip(dealt).map(fold).collect())
}

/// A fold validates when it is the one named.
pub(super) fn role(index: u32, validation_fold: Option<u32>) -> Role {
    if validation_fold == Some(index) { Role::Validation } else { Role::Training }
}
