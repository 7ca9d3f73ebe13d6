//! Medians of clusters whose members change a little at a time.
//!
//! Values are sorted once. Each cluster counts its members in buckets of consecutive ranks, so a median is found by walking
//! over the counts and then over one bucket, and a change of owner changes two counts.

/// Ranks of a bucket: walking over it should take about as long as over the buckets of a large set.
const BUCKET: usize = 256;

/// One number of every box, and how the clusters share them.
pub struct Medians {
    /// All values in increasing order.
    sorted: Vec<f32>,
    /// The box at each rank.
    boxes: Vec<u32>,
    /// The rank of each box.
    ranks: Vec<u32>,
    /// Members per cluster and bucket, cluster by cluster.
    counts: Vec<u32>,
    buckets: usize,
}

impl Medians {
    /// Of `values` without NaN, none of them in a cluster yet.
    pub fn new(values: &[f32], clusters: usize) -> Self {
        // The bits of floats above 0 sort like the floats; with the box below, equal values sort by box.
        let mut keys: Vec<u64> = values
            .iter()
            .zip(0_u64..)
            .map(|(value, index)| u64::from(value.to_bits()) << 32 | index)
            .collect();
        keys.sort_unstable();
        let boxes: Vec<u32> = keys.iter().map(|&key| key as u32).collect();
        let mut ranks = vec![0; values.len()];
        for (rank, &index) in (0_u32..).zip(&boxes) {
            ranks[index as usize] = rank;
        }
        let sorted = keys.iter().map(|key| f32::from_bits((key >> 32) as u32)).collect();
        let buckets = values.len().div_ceil(BUCKET);
        Self { sorted, boxes, ranks, counts: vec![0; clusters * buckets], buckets }
    }

    /// Box `index` goes from cluster `old`, if there is such a one, to cluster `new`.
    pub fn change_owner(&mut self, index: usize, old: u32, new: u32) {
        let bucket = self.ranks[index] as usize / BUCKET;
        if let Some(count) = self.counts.get_mut(old as usize * self.buckets + bucket) {
            *count -= 1;
        }
        self.counts[new as usize * self.buckets + bucket] += 1;
    }

    /// The median of a cluster, of an even number of values the mean of the middle two; `None` when it is empty. `owners` holds
    /// the cluster of every box.
    pub fn median(&self, cluster: usize, owners: &[u32]) -> Option<f32> {
        let counts = &self.counts[cluster * self.buckets..][..self.buckets];
        let members: usize = counts.iter().map(|&count| count as usize).sum();
        let middle = |nth| self.nth(nth, cluster, counts, owners);
        match members {
            0 => None,
            odd if odd % 2 == 1 => middle(odd / 2),
            even => Some(((f64::from(middle(even / 2 - 1)?) + f64::from(middle(even / 2)?)) / 2.0) as f32),
        }
    }

    /// Value number `nth` of a cluster, from 0.
    fn nth(&self, mut nth: usize, cluster: usize, counts: &[u32], owners: &[u32]) -> Option<f32> {
        let bucket = counts.iter().position(|&count| {
            let here = nth < count as usize;
            if !here {
                nth -= count as usize;
            }
            here
        })?;
        let ranks = bucket * BUCKET..self.sorted.len().min((bucket + 1) * BUCKET);
        let mut members = ranks.filter(|&rank| owners[self.boxes[rank] as usize] as usize == cluster);
        members.nth(nth).map(|rank| self.sorted[rank])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_changes_of_owner() {
        let values: Vec<f32> = (0..1000).map(|i| ((i * 37) % 251) as f32 + 1.0).collect();
        let mut medians = Medians::new(&values, 3);
        let mut owners = vec![u32::MAX; values.len()];
        for round in 0..4 {
            for (index, owner) in owners.iter_mut().enumerate() {
                let new = ((index * (round + 3) / 5) % 2 * 2) as u32;
                if *owner != new {
                    medians.change_owner(index, *owner, new);
                    *owner = new;
                }
            }
            for cluster in [0, 2] {
                let mut mine: Vec<f32> = values
                    .iter()
                    .zip(&owners)
                    .filter(|(_, owner)| **owner == cluster)
                    .map(|(v, _)| *v)
                    .collect();
                mine.sort_by(f32::total_cmp);
                let want = (mine[(mine.len() - 1) / 2] + mine[mine.len() / 2]) / 2.0;
                assert_eq!(medians.median(cluster as usize, &owners), Some(want), "{} values", mine.len());
            }
            assert_eq!(medians.median(1, &owners), None);
        }
    }
}
