//! The threshold for a given cost.

use super::{PruneError, Pruner};

impl Pruner<'_> {
    /// The lowest threshold that leaves at most `most` MACs for one image.
    ///
    /// # Errors
    /// [`PruneError::Unreachable`] when none does, with the least that can be reached.
    pub fn threshold_for_macs(&self, most: u64) -> Result<f64, PruneError> {
        // What is kept changes where the threshold passes what some channel counts; a higher threshold never keeps more.
        let mut thresholds = vec![0.0];
        thresholds.extend(self.statistics.iter().flatten().flatten());
        thresholds.sort_by(f64::total_cmp);
        thresholds.dedup();
        let least = self.macs(thresholds[thresholds.len() - 1])?;
        if least > most {
            return Err(PruneError::Unreachable { most, least });
        }
        let (mut low, mut high) = (0, thresholds.len() - 1);
        while low < high {
            let middle = low.midpoint(high);
            if self.macs(thresholds[middle])? > most {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(thresholds[high])
    }

    fn macs(&self, threshold: f64) -> Result<u64, PruneError> {
        Ok(self.plan(threshold).narrow(self.detector).macs()?)
    }
}
