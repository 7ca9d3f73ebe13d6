//! TFRecord files: a chain of checksummed records, and the records TAO's `dataset_convert` puts into them.
//!
//! Three layers: [`Records`] and [`write_record`] frame bytes and know nothing of their meaning; [`Example`] is
//! TensorFlow's message of named lists; [`Frame`] is one image with its objects, as TAO stores it. Format page:
//! `docs/formats/tfrecord.md`.

mod example;
mod frame;
mod framing;

pub use example::{BytesList, Example, Feature, Features, FloatList, Int64List, Kind};
pub use frame::{Calibration, Frame, FrameError, PointCloud};
pub use framing::{RecordError, RecordProblem, Records, write_record};
