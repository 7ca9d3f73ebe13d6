//! What a network says about a batch.

/// Every candidate box of a batch with its score for every class; or what an engine that suppresses itself has left of them.
///
/// Candidates are ordered by head (big objects first), then row, column, anchor; those of an engine that suppresses, best first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawDetections {
    /// Images.
    pub batch: usize,
    /// Candidates per image, B.
    pub candidates: usize,
    /// Classes, K.
    pub classes: usize,
    /// `[N, B, 4]`: x1, y1, x2, y2 in fractions of the canvas, not clipped.
    pub boxes: Vec<f32>,
    /// `[N, B, K]`: class probability × objectness.
    pub scores: Vec<f32>,
    /// Whether the network has suppressed them already: overlaps say nothing any more.
    pub suppressed: bool,
}

impl RawDetections {
    /// Makes room for a batch; what was there is gone.
    pub fn resize(&mut self, batch: usize, candidates: usize, classes: usize) {
        (self.batch, self.candidates, self.classes) = (batch, candidates, classes);
        self.boxes.resize(batch * candidates * 4, 0.0);
        self.scores.resize(batch * candidates * classes, 0.0);
    }

    /// Boxes `[B, 4]` of one image.
    pub fn image_boxes(&self, image: usize) -> &[f32] {
        &self.boxes[image * self.candidates * 4..][..self.candidates * 4]
    }

    /// Scores `[B, K]` of one image.
    pub fn image_scores(&self, image: usize) -> &[f32] {
        let len = self.candidates * self.classes;
        &self.scores[image * len..][..len]
    }
}

/// A network failed on a batch.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct NetworkError(#[from] pub Box<dyn std::error::Error + Send + Sync>);

/// A detection network that runs: the trainer's executor, or a session of the runtime.
pub trait Network: Send {
    /// Runs `batch` preprocessed images `[N, C, H, W]` and fills `out`.
    ///
    /// # Errors
    /// When `input` does not hold `batch` images of the network's size, or the backend fails.
    fn run(&mut self, input: &[f32], batch: usize, out: &mut RawDetections) -> Result<(), NetworkError>;
}
