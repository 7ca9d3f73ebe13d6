//! Random numbers that depend on what they are for and on nothing else.
//!
//! Every draw comes from a generator keyed by (seed, epoch, sample, purpose). There is no shared stream, so neither the
//! number of threads nor a stop and resume changes anything.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// What random numbers are drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The order of an epoch.
    Order = 1,
    /// Augmentation of one sample.
    Augment = 2,
    /// The input size of some consecutive batches.
    Size = 3,
    /// Which images of a batch stochastic depth leaves out.
    DropPath = 4,
}

/// The generator for one purpose. Its key is the four numbers, as they are.
pub fn rng(seed: u64, epoch: u64, sample: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, number) in key.chunks_exact_mut(8).zip([seed, epoch, sample, purpose as u64]) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// The order in which an epoch visits `len` samples.
pub fn epoch_order(seed: u64, epoch: u64, len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.shuffle(&mut rng(seed, epoch, 0, Purpose::Order));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn every_number_of_the_key_counts() {
        let first = |seed, epoch, sample, purpose| rng(seed, epoch, sample, purpose).random::<u64>();
        let all = [
            first(1, 2, 3, Purpose::Augment),
            first(2, 2, 3, Purpose::Augment),
            first(1, 3, 3, Purpose::Augment),
            first(1, 2, 4, Purpose::Augment),
            first(1, 2, 3, Purpose::Order),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
        assert_eq!(all[0], first(1, 2, 3, Purpose::Augment));
    }

    #[test]
    fn an_epoch_visits_every_sample_once() {
        let mut order = epoch_order(7, 3, 100);
        assert_ne!(order, epoch_order(7, 4, 100));
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
