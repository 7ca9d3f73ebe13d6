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

    /// Takes boxes `[N, B, 4]` and scores `[N, B, K]` that are not suppressed; B follows from their number.
    ///
    /// # Errors
    /// When they are no such arrays.
    pub fn set(
        &mut self,
        batch: usize,
        classes: usize,
        boxes: &[f32],
        scores: &[f32],
    ) -> Result<(), NetworkError> {
        let candidates = boxes.len() / (4 * batch).max(1);
        if boxes.len() != batch * candidates * 4 || scores.len() != batch * candidates * classes {
            let (boxes, scores) = (boxes.len(), scores.len());
            let what = format!(
                "outputs of {boxes} and {scores} values are not boxes and scores of {classes} classes"
            );
            return Err(NetworkError(what.into()));
        }
        self.clear();
        (self.batch, self.candidates, self.classes) = (batch, candidates, classes);
        self.boxes.extend_from_slice(boxes);
        self.scores.extend_from_slice(scores);
        Ok(())
    }

    /// Forgets what there is, but keeps its memory.
    pub fn clear(&mut self) {
        self.resize(0, 0, 0);
        self.suppressed = false;
    }

    /// Adds the first `images` of a batch of the same network.
    pub fn append(&mut self, other: &Self, images: usize) {
        self.batch += images;
        (self.candidates, self.classes, self.suppressed) =
            (other.candidates, other.classes, other.suppressed);
        self.boxes.extend_from_slice(&other.boxes[..images * other.candidates * 4]);
        self.scores.extend_from_slice(&other.scores[..images * other.candidates * other.classes]);
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
