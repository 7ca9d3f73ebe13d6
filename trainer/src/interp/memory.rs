//! Where the buffers of an interpretation lie: parts of one block that is allocated once, shared by buffers that are not
//! in use at the same time.

use std::ops::Range;

/// A buffer of [`Lifetimes`], and of the [`Layout`] made from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BufferId(usize);

/// Buffers and the times between which each holds something.
#[derive(Debug, Default)]
pub(super) struct Lifetimes(Vec<Life>);

#[derive(Clone, Copy, Debug)]
struct Life {
    len: usize,
    from: usize,
    /// Included.
    to: usize,
}

impl Lifetimes {
    /// A buffer of `len` values, in use at `time`.
    pub(super) fn add(&mut self, len: usize, time: usize) -> BufferId {
        self.0.push(Life { len, from: time, to: time });
        BufferId(self.0.len() - 1)
    }

    /// Keeps a buffer in use until `time`.
    pub(super) fn extend(&mut self, buffer: BufferId, time: usize) {
        let life = &mut self.0[buffer.0];
        life.to = life.to.max(time);
    }

    /// Gives every buffer a place: large ones first, each at the lowest place that is free all its life. That is close to
    /// the least possible when sizes differ by large factors, as the maps of a network do.
    pub(super) fn place(&self) -> Layout {
        let mut order: Vec<usize> = (0..self.0.len()).collect();
        order.sort_by_key(|index| (std::cmp::Reverse(self.0[*index].len), self.0[*index].from));
        let mut ranges = vec![0..0; self.0.len()];
        let mut placed: Vec<usize> = Vec::new();
        for index in order {
            let life = self.0[index];
            let mut taken: Vec<Range<usize>> = placed
                .iter()
                .filter(|other| self.0[**other].from <= life.to && life.from <= self.0[**other].to)
                .map(|other| ranges[*other].clone())
                .collect();
            taken.sort_by_key(|range| range.start);
            let mut start = 0;
            for range in taken {
                if range.start >= start + life.len {
                    break;
                }
                start = start.max(range.end.next_multiple_of(ALIGNMENT));
            }
            ranges[index] = start..start + life.len;
            placed.push(index);
        }
        let len = ranges.iter().map(|range| range.end).max().unwrap_or(0);
        Layout { ranges, len }
    }
}

/// Values between possible places: a cache line.
const ALIGNMENT: usize = 16;

/// The place of every buffer in a block of `len` values.
#[derive(Debug)]
pub(super) struct Layout {
    ranges: Vec<Range<usize>>,
    pub(super) len: usize,
}

impl Layout {
    /// The place of one buffer.
    pub(super) fn range(&self, buffer: BufferId) -> Range<usize> {
        self.ranges[buffer.0].clone()
    }

    /// Buffers of `block` that are in use at the same time.
    pub(super) fn buffers<'a, const N: usize>(
        &self,
        block: &'a mut [f32],
        buffers: [BufferId; N],
    ) -> [&'a mut [f32]; N] {
        let ranges = buffers.map(|buffer| self.range(buffer));
        block.get_disjoint_mut(ranges).expect("buffers in use at the same time lie apart, inside the block")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_share_places_but_not_at_the_same_time() {
        let mut lives = Lifetimes::default();
        // A chain: each map is read by the next step only.
        let chain: Vec<BufferId> = (0..8).map(|t| lives.add(100, t)).collect();
        chain.iter().zip(1..).for_each(|(id, t)| lives.extend(*id, t));
        let long = lives.add(40, 2);
        lives.extend(long, 6);
        let layout = lives.place();
        for (a, life) in lives.0.iter().enumerate() {
            assert_eq!(layout.ranges[a].len(), life.len);
            for (b, other) in lives.0.iter().enumerate().skip(a + 1) {
                let together = life.from <= other.to && other.from <= life.to;
                let (a, b) = (&layout.ranges[a], &layout.ranges[b]);
                assert!(!together || a.end <= b.start || b.end <= a.start, "{a:?} {b:?}");
            }
        }
        // Two maps of the chain and the long-lived one.
        assert_eq!(layout.len, 2 * 112 + 40);
        let mut block = vec![0.0; layout.len];
        let [a, b] = layout.buffers(&mut block, [chain[3], long]);
        assert_eq!((a.len(), b.len()), (100, 40));
    }
}
