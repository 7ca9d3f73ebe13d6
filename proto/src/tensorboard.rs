//! TensorBoard's event files: what a training run tells those who watch it.
//!
//! A file is a chain of [records](crate::tfrecord), each an [`Event`]. The first one names the version of the format; a run that
//! is resumed goes on in a file of its own, which says from which step on earlier files no longer hold. Field numbers:
//! `tensorflow/core/util/event.proto` and `tensorflow/core/framework/summary.proto` of
//! <https://github.com/tensorflow/tensorflow>. What a run writes:
//! `docs/reports.md`.

use prost::Message as _;

/// Version of the format that this module writes, and the only one TensorBoard honours [`Event::restart`] in.
const FILE_VERSION: &str = "brain.Event:2";
/// `SessionLog.SessionStatus.START`
const START: i32 = 1;
/// `Summary.Image.colorspace`, grayscale and RGB.
const GRAY: i32 = 1;
const RGB: i32 = 3;

/// One moment of a run.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// Where its values belong on the horizontal axis.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// What it tells.
    #[prost(oneof = "What", tags = "3, 5, 7")]
    pub what: Option<What>,
}

/// What an event tells.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum What {
    /// Version of the format.
    #[prost(string, tag = "3")]
    FileVersion(String),
    /// Values.
    #[prost(message, tag = "5")]
    Summary(Summary),
    /// The run itself.
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

/// Values of one moment.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Summary {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

/// A value with its name.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Value {
    /// Its name; what is before a slash groups the names.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// The value.
    #[prost(oneof = "Kind", tags = "2, 4, 5")]
    pub kind: Option<Kind>,
}

/// A value of one of three types.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    /// A number.
    #[prost(float, tag = "2")]
    Scalar(f32),
    /// A picture.
    #[prost(message, tag = "4")]
    Image(Image),
    /// A distribution.
    #[prost(message, tag = "5")]
    Histogram(Histogram),
}

/// A picture.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Image {
    /// Rows.
    #[prost(int32, tag = "1")]
    pub height: i32,
    /// Pixels per row.
    #[prost(int32, tag = "2")]
    pub width: i32,
    /// Channels: 1 gray, 3 colour.
    #[prost(int32, tag = "3")]
    pub colorspace: i32,
    /// A PNG file.
    #[prost(bytes = "vec", tag = "4")]
    pub png: Vec<u8>,
}

/// How values are distributed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Histogram {
    /// The least value.
    #[prost(double, tag = "1")]
    pub min: f64,
    /// The greatest value.
    #[prost(double, tag = "2")]
    pub max: f64,
    /// How many there are.
    #[prost(double, tag = "3")]
    pub num: f64,
    /// Their sum.
    #[prost(double, tag = "4")]
    pub sum: f64,
    /// The sum of their squares.
    #[prost(double, tag = "5")]
    pub sum_squares: f64,
    /// Right end of each bucket, rising. The first bucket begins at `min`.
    #[prost(double, repeated, tag = "6")]
    pub bucket_limit: Vec<f64>,
    /// How many values are in each bucket.
    #[prost(double, repeated, tag = "7")]
    pub bucket: Vec<f64>,
}

/// What happens to the run.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SessionLog {
    /// `SessionLog.SessionStatus`
    #[prost(int32, tag = "1")]
    pub status: i32,
}

impl Event {
    /// The first event of a file.
    pub fn file_version(wall_time: f64) -> Self {
        Self { wall_time, step: 0, what: Some(What::FileVersion(FILE_VERSION.into())) }
    }

    /// Takes back whatever earlier files of the folder say of `step` and later ones.
    pub fn restart(wall_time: f64, step: i64) -> Self {
        Self { wall_time, step, what: Some(What::SessionLog(SessionLog { status: START })) }
    }

    /// Values at a step.
    pub fn values(wall_time: f64, step: i64, value: Vec<Value>) -> Self {
        Self { wall_time, step, what: Some(What::Summary(Summary { value })) }
    }

    /// The payload of its [record](crate::tfrecord::write_record).
    pub fn encode(&self) -> Vec<u8> {
        self.encode_to_vec()
    }
}

impl Value {
    /// A number.
    pub fn scalar(tag: impl Into<String>, value: f64) -> Self {
        Self { tag: tag.into(), kind: Some(Kind::Scalar(value as f32)) }
    }

    /// A picture, given as a PNG file in colour or gray.
    pub fn image(tag: impl Into<String>, (width, height): (usize, usize), color: bool, png: Vec<u8>) -> Self {
        let side = |pixels: usize| i32::try_from(pixels).unwrap_or(i32::MAX);
        let colorspace = if color { RGB } else { GRAY };
        let image = Image { height: side(height), width: side(width), colorspace, png };
        Self { tag: tag.into(), kind: Some(Kind::Image(image)) }
    }

    /// A distribution.
    pub fn histogram(tag: impl Into<String>, histogram: Histogram) -> Self {
        Self { tag: tag.into(), kind: Some(Kind::Histogram(histogram)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tfrecord::write_record;

    /// What TensorBoard 2.21's own messages encode to.
    #[test]
    fn the_bytes_are_those_of_tensorboard() {
        let mut file = Vec::new();
        write_record(&mut file, &Event::file_version(1_700_000_000.25).encode()).unwrap();
        assert_eq!(&file[12..36], b"\t\0\0\x10@\xfcT\xd9A\x1a\rbrain.Event:2");
        let scalar = Event::values(0.0, 7, vec![Value::scalar("loss", 0.5)]);
        assert_eq!(scalar.encode(), b"\x10\x07*\r\n\x0b\n\x04loss\x15\0\0\0?");
        assert_eq!(Event::restart(0.0, 300).encode(), b"\x10\xac\x02:\x02\x08\x01");

        let histogram = Histogram {
            min: -1.0,
            max: 2.0,
            num: 3.0,
            sum: 1.5,
            sum_squares: 5.25,
            bucket_limit: vec![0.0, 2.0],
            bucket: vec![1.0, 2.0],
        };
        let values = vec![Value::histogram("h", histogram), Value::image("i", (2, 1), true, b"png".to_vec())];
        assert_eq!(
            Event::values(0.0, 1, values).encode(),
            b"\x10\x01*j\nV\n\x01h*Q\t\0\0\0\0\0\0\xf0\xbf\x11\0\0\0\0\0\0\0@\x19\0\0\0\0\0\0\x08@!\0\0\0\0\0\0\xf8?\
              )\0\0\0\0\0\0\x15@2\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0@:\x10\0\0\0\0\0\0\xf0?\0\0\0\0\0\0\0@\n\x10\n\
              \x01i\"\x0b\x08\x01\x10\x02\x18\x03\"\x03png"
        );
    }
}
