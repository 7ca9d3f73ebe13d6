//! Reading, computing and writing at the same time.
//!
//! ```text
//! workers ─ batch b made by worker b mod n ─► this thread: the network ─► workers: batch b finished by worker b mod n ─► listener
//! ```
//!
//! Queues are short, so that a slow stage holds up the others instead of filling the memory. Batches are taken from the workers in
//! turn, so results come in order.

use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, Scope};

use oxidet_vision::{Network, RawDetections};

use super::source::{Batch, Batches, Item};
use super::{Detected, InferenceError};

/// What finishes an image: its detections are those of image `usize` of the batch.
pub type Finish<'a> = dyn Fn(Item, usize, &RawDetections) -> Result<Detected, InferenceError> + Sync + 'a;

/// Batches ready for the network, and batches ready for finishing, that wait with each worker.
const WAITING: usize = 1;

/// Runs all batches; `listen` hears of the images in order and may end it by saying `false`, `skip` of those that are left out.
pub fn run(
    batches: Batches<'_>,
    workers: usize,
    network: &mut dyn Network,
    finish: &Finish<'_>,
    skip: &mut dyn FnMut(InferenceError),
    listen: &mut dyn FnMut(&Detected) -> bool,
) -> Result<(), InferenceError> {
    let batches = &batches;
    thread::scope(|scope| {
        let makers: Vec<_> = (0..batches.workers(workers))
            .map(|at| maker(scope, batches, at, batches.workers(workers)))
            .collect();
        let finishers: Vec<Finisher> = (0..workers).map(|_| Finisher::start(scope, finish)).collect();
        let mut heard = 0;
        let mut spare: Vec<RawDetections> = Vec::new();
        let mut count = 0;
        // A worker that sends no more has no more.
        while let Ok(batch) = makers[count % makers.len()].recv() {
            let mut batch = batch?;
            batch.skipped.drain(..).for_each(&mut *skip);
            let mut raw = spare.pop().unwrap_or_default();
            if !batch.items.is_empty() {
                network.run(&batch.tensor, batch.items.len(), &mut raw)?;
            }
            // What is sent to one that has failed is lost, and its failure is heard of below.
            let _ = finishers[count % workers].todo.send((batch, raw));
            count += 1;
            while heard < count {
                let Ok(done) = finishers[heard % workers].done.try_recv() else { break };
                heard += 1;
                if !done.tell(listen, &mut spare)? {
                    return Ok(());
                }
            }
        }
        while heard < count {
            let Ok(done) = finishers[heard % workers].done.recv() else { break };
            heard += 1;
            if !done.tell(listen, &mut spare)? {
                return Ok(());
            }
        }
        Ok(())
    })
}

/// Starts a thread that makes every `step`-th batch from the `first` on.
fn maker<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    batches: &'env Batches<'env>,
    first: usize,
    step: usize,
) -> Receiver<Result<Batch, InferenceError>> {
    let (made, ready) = mpsc::sync_channel(WAITING);
    scope.spawn(move || {
        for batch in (first..).step_by(step).map_while(|index| batches.make(index)) {
            let failed = batch.is_err();
            if made.send(batch).is_err() || failed {
                break;
            }
        }
    });
    ready
}

/// A batch that is finished, and the memory of its candidates for another.
struct Done {
    images: Result<Vec<Detected>, InferenceError>,
    raw: RawDetections,
}

impl Done {
    /// Tells of the images; whether to go on.
    fn tell(
        self,
        listen: &mut dyn FnMut(&Detected) -> bool,
        spare: &mut Vec<RawDetections>,
    ) -> Result<bool, InferenceError> {
        spare.push(self.raw);
        Ok(self.images?.iter().all(listen))
    }
}

/// A thread that finishes batches.
struct Finisher {
    todo: SyncSender<(Batch, RawDetections)>,
    /// Without bound: detections are small, and a finisher that waited here would hold up the network that is to hear of it.
    done: Receiver<Done>,
}

impl Finisher {
    fn start<'scope, 'env>(scope: &'scope Scope<'scope, 'env>, finish: &'env Finish<'env>) -> Self {
        let (todo, work) = mpsc::sync_channel::<(Batch, RawDetections)>(WAITING);
        let (finished, done) = mpsc::channel();
        scope.spawn(move || {
            for (batch, raw) in work {
                let items = batch.items.into_iter().enumerate();
                let images = items.map(|(image, item)| finish(item, image, &raw)).collect();
                if finished.send(Done { images, raw }).is_err() {
                    break;
                }
            }
        });
        Self { todo, done }
    }
}
