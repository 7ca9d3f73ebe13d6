//! Medians of clusters whose members change a little at a time.
//!
//! Values are sorted once. Each cluster counts its members in buckets of consecutive ranks, so a median is found by walking
//! over the counts and then over one bucket, and a change of owner changes two counts.

/// One number of every box, in order.
pub struct Ranking {
    /// All values in increasing order.
    sorted: Vec<f32>,
    /// The box at each rank.
    boxes: Vec<u32>,
    /// The rank of each box.
    ranks: Vec<u32>,
    /// Ranks of a bucket: about as many as there are buckets, so that walking over either takes as long.
    bucket: usize,
}

impl Ranking {
    /// Of values above 0.
    pub fn new(values: impl Iterator<Item = f32>) -> Self {
        // The bits of floats above 0 sort like the floats; with the box below, equal values sort by box.
        let keys = values.zip(0_u64..).map(|(value, index)| u64::from(value.to_bits()) << 32 | index);
        let mut keys: Vec<u64> = keys.collect();
        keys.sort_unstable();
        let boxes: Vec<u32> = keys.iter().map(|&key| key as u32).collect();
        let mut ranks = vec![0; keys.len()];
        for (rank, &index) in (0_u32..).zip(&boxes) {
            ranks[index as usize] = rank;
        }
        let sorted = keys.iter().map(|key| f32::from_bits((key >> 32) as u32)).collect();
        Self { sorted, boxes, ranks, bucket: keys.len().isqrt().max(1) }
    }
}

/// How clusters share the boxes of a ranking.
pub struct Medians<'a> {
    ranking: &'a Ranking,
    /// Members per cluster and bucket, cluster by cluster.
    counts: Vec<u32>,
    buckets: usize,
}

impl<'a> Medians<'a> {
    /// No box is in a cluster yet.
    pub fn new(ranking: &'a Ranking, clusters: usize) -> Self {
        let buckets = ranking.sorted.len().div_ceil(ranking.bucket);
        Self { ranking, counts: vec![0; clusters * buckets], buckets }
    }

    /// Box `index` goes from cluster `old`, if there is such a one, to cluster `new`.
    pub fn change_owner(&mut self, index: usize, old: u32, new: u32) {
        let bucket = self.ranking.ranks[index] as usize / self.ranking.bucket;
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
        let Ranking { sorted, boxes, bucket: length, .. } = self.ranking;
        let ranks = bucket * length..sorted.len().min((bucket + 1) * length);
        let mut members = ranks.filter(|&rank| owners[boxes[rank] as usize] as usize == cluster);
        members.nth(nth).map(|rank| sorted[rank])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_changes_of_owner() {
        let values: Vec<f32> = (0..1000).map(|i| ((i * 37) % 251) as f32 + 1.0).collect();
        let ranking = Ranking::new(values.iter().copied());
        let mut medians = Medians::new(&ranking, 3);
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
