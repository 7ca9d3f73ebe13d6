//! One image and its objects, as TAO's `dataset_convert` stores them. Pixels are not stored.

use std::collections::BTreeMap;

use prost::Message;

use super::{Example, Feature, Features, Kind};
use crate::kitti::Object;

const ID: &str = "frame/id";
const WIDTH: &str = "frame/width";
const HEIGHT: &str = "frame/height";
const CLASS: &str = "target/object_class";
const TRUNCATION: &str = "target/truncation";
const OCCLUSION: &str = "target/occlusion";
const ALPHA: &str = "target/observation_angle";
const CORNERS: [&str; 4] =
    ["target/coordinates_x1", "target/coordinates_y1", "target/coordinates_x2", "target/coordinates_y2"];
/// Old style: the corners of polygons, and the object that each corner belongs to.
const POLYGON: [&str; 2] = ["target/coordinates/x", "target/coordinates/y"];
const POLYGON_INDEX: &str = "target/coordinates/index";
const DIMENSIONS: [&str; 3] = ["target/world_bbox_h", "target/world_bbox_w", "target/world_bbox_l"];
const LOCATION: [&str; 3] = ["target/world_bbox_x", "target/world_bbox_y", "target/world_bbox_z"];
const ROTATION_Y: &str = "target/world_bbox_rot_y";
const POINT_CLOUD_ID: &str = "point_cloud/id";
const POINT_CLOUD_CHANNELS: &str = "point_cloud/num_input_channels";
const LIDAR_TO_CAMERA: &str = "calibration/T_lidar_to_camera";
const LIDAR_TO_IMAGE: &str = "calibration/P_lidar_to_image";

/// One image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    /// Path of the image below the image folder, without extension.
    pub id: String,
    /// Pixels per row, not 0.
    pub width: u32,
    /// Rows, not 0.
    pub height: u32,
    /// Its objects, boxes in pixels. `line` and `score` are not stored: 0 and `None` after decoding.
    pub objects: Vec<Object>,
    /// The point cloud taken with it.
    pub point_cloud: Option<PointCloud>,
    /// Where the lidar is, seen from the camera.
    pub calibration: Option<Calibration>,
}

/// A point cloud in a file of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct PointCloud {
    /// Path of the point cloud below its folder, without extension.
    pub id: String,
    /// Numbers per point; 4 in KITTI.
    pub channels: u32,
}

/// Matrices by rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// 4 × 4: lidar coordinates to camera coordinates.
    pub lidar_to_camera: [f32; 16],
    /// 3 × 4: lidar coordinates to image coordinates.
    pub lidar_to_image: [f32; 12],
}

/// Why a record is not a frame. Keys are those of the record's features.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Not a protobuf message of this kind.
    #[error("not a tf.train.Example, or a damaged one: {0}; convert the data again")]
    Malformed(#[from] prost::DecodeError),
    /// A feature that every frame has is not there.
    #[error(
        "the feature {key:?} is missing; \
         only records made by dataset_convert describe objects in a way that can be read"
    )]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A feature holds values of another type.
    #[error("the feature {key:?} holds {found}, {want} are needed; convert the data again")]
    WrongKind {
        /// The key.
        key: &'static str,
        /// The type needed.
        want: &'static str,
        /// The type found.
        found: &'static str,
    },
    /// A feature has too few or too many values.
    #[error("the feature {key:?} has {found} values, {want} are needed; convert the data again")]
    WrongCount {
        /// The key.
        key: &'static str,
        /// Number of values needed.
        want: usize,
        /// Number of values found.
        found: usize,
    },
    /// A name with bytes that are no text.
    #[error("the feature {key:?} is not text in UTF-8; rename the class or the image and convert again")]
    NotText {
        /// The key.
        key: &'static str,
    },
    /// NaN or infinity.
    #[error("the feature {key:?} has the value {value} for object {object}, a finite number is needed")]
    NotFinite {
        /// The key.
        key: &'static str,
        /// The object, counted from 0; for a calibration the place in the matrix.
        object: usize,
        /// The value.
        value: f32,
    },
    /// A whole number that cannot be what the feature means.
    #[error("the feature {key:?} has the value {value}, which is out of range; convert the data again")]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// The value.
        value: i64,
    },
    /// An object without a corner of its polygon.
    #[error("no corner in {POLYGON_INDEX:?} belongs to object {object}; convert the data again")]
    NoCorners {
        /// The object, counted from 0.
        object: usize,
    },
}

impl Frame {
    /// Reads the payload of one record.
    ///
    /// Image, class and box are needed; the other columns of KITTI are 0 when their feature is absent. Polygons
    /// of old records become the box around them. Features of other pipelines are skipped.
    ///
    /// # Errors
    /// [`FrameError`] names the feature.
    pub fn decode(payload: &[u8]) -> Result<Self, FrameError> {
        let features = Reader(Example::decode(payload)?.features.unwrap_or_default().feature);
        let classes = features.texts(CLASS)?.ok_or(FrameError::Missing { key: CLASS })?;
        let count = classes.len();
        let boxes = features.boxes(count)?;
        let truncation = features.column(TRUNCATION, count)?;
        let occlusion = features.integers(OCCLUSION)?.unwrap_or_else(|| vec![0; count]);
        check_count(OCCLUSION, count, occlusion.len())?;
        let alpha = features.column(ALPHA, count)?;
        let dimensions = features.columns(DIMENSIONS, count)?;
        let location = features.columns(LOCATION, count)?;
        let rotation_y = features.column(ROTATION_Y, count)?;

        let mut objects = Vec::with_capacity(count);
        for (index, class) in classes.into_iter().enumerate() {
            objects.push(Object {
                class,
                truncation: truncation[index],
                occlusion: in_range(OCCLUSION, occlusion[index])?,
                alpha: alpha[index],
                bbox: boxes[index],
                dimensions: dimensions.each_ref().map(|column| column[index]),
                location: location.each_ref().map(|column| column[index]),
                rotation_y: rotation_y[index],
                score: None,
                line: 0,
            });
        }
        Ok(Self {
            id: features.text(ID)?.ok_or(FrameError::Missing { key: ID })?,
            width: features.size(WIDTH)?,
            height: features.size(HEIGHT)?,
            objects,
            point_cloud: features.point_cloud()?,
            calibration: features.calibration()?,
        })
    }

    /// The payload of one record. Equal frames give equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut feature = BTreeMap::new();
        let mut put = |key: &str, value: Feature| feature.insert(key.to_owned(), value);
        let floats =
            |of: &dyn Fn(&Object) -> f32| Feature::from(self.objects.iter().map(of).collect::<Vec<f32>>());
        put(ID, text(&self.id));
        put(WIDTH, vec![i64::from(self.width)].into());
        put(HEIGHT, vec![i64::from(self.height)].into());
        put(CLASS, self.objects.iter().map(|o| o.class.clone().into_bytes()).collect::<Vec<_>>().into());
        put(TRUNCATION, floats(&|o| o.truncation));
        put(OCCLUSION, self.objects.iter().map(|o| i64::from(o.occlusion)).collect::<Vec<_>>().into());
        put(ALPHA, floats(&|o| o.alpha));
        for (axis, key) in CORNERS.into_iter().enumerate() {
            put(key, floats(&|o| o.bbox[axis]));
        }
        for axis in 0..3 {
            put(DIMENSIONS[axis], floats(&|o| o.dimensions[axis]));
            put(LOCATION[axis], floats(&|o| o.location[axis]));
        }
        put(ROTATION_Y, floats(&|o| o.rotation_y));
        if let Some(PointCloud { id, channels }) = &self.point_cloud {
            put(POINT_CLOUD_ID, text(id));
            put(POINT_CLOUD_CHANNELS, vec![i64::from(*channels)].into());
        }
        if let Some(calibration) = &self.calibration {
            put(LIDAR_TO_CAMERA, calibration.lidar_to_camera.to_vec().into());
            put(LIDAR_TO_IMAGE, calibration.lidar_to_image.to_vec().into());
        }
        Example { features: Some(Features { feature }) }.encode_to_vec()
    }
}

fn text(value: &str) -> Feature {
    vec![value.as_bytes().to_vec()].into()
}

/// Features by key. `None` is an absent feature; one without a stated kind has no values.
struct Reader(BTreeMap<String, Feature>);

impl Reader {
    fn kind(&self, key: &str) -> Option<Option<&Kind>> {
        self.0.get(key).map(|feature| feature.kind.as_ref().filter(|kind| !kind.is_empty()))
    }

    fn floats(&self, key: &'static str) -> Result<Option<Vec<f32>>, FrameError> {
        match self.kind(key) {
            None => Ok(None),
            Some(None) => Ok(Some(Vec::new())),
            Some(Some(Kind::Float(list))) => match list.value.iter().position(|value| !value.is_finite()) {
                None => Ok(Some(list.value.clone())),
                Some(object) => Err(FrameError::NotFinite { key, object, value: list.value[object] }),
            },
            Some(Some(other)) => Err(FrameError::WrongKind { key, want: "floats", found: other.name() }),
        }
    }

    fn integers(&self, key: &'static str) -> Result<Option<Vec<i64>>, FrameError> {
        match self.kind(key) {
            None => Ok(None),
            Some(None) => Ok(Some(Vec::new())),
            Some(Some(Kind::Int64(list))) => Ok(Some(list.value.clone())),
            Some(Some(other)) => Err(FrameError::WrongKind { key, want: "integers", found: other.name() }),
        }
    }

    fn texts(&self, key: &'static str) -> Result<Option<Vec<String>>, FrameError> {
        match self.kind(key) {
            None => Ok(None),
            Some(None) => Ok(Some(Vec::new())),
            Some(Some(Kind::Bytes(list))) => {
                let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone());
                let texts: Result<Vec<String>, _> = list.value.iter().map(text).collect();
                texts.map(Some).map_err(|_| FrameError::NotText { key })
            }
            Some(Some(other)) => Err(FrameError::WrongKind { key, want: "bytes", found: other.name() }),
        }
    }

    fn text(&self, key: &'static str) -> Result<Option<String>, FrameError> {
        self.texts(key)?.map(|texts| single(key, texts)).transpose()
    }

    fn size(&self, key: &'static str) -> Result<u32, FrameError> {
        let value = single(key, self.integers(key)?.ok_or(FrameError::Missing { key })?)?;
        match in_range(key, value)? {
            0 => Err(FrameError::OutOfRange { key, value }),
            size => Ok(size),
        }
    }

    /// One float per object, 0 when the feature is absent.
    fn column(&self, key: &'static str, count: usize) -> Result<Vec<f32>, FrameError> {
        let values = self.floats(key)?.unwrap_or_else(|| vec![0.0; count]);
        check_count(key, count, values.len())?;
        Ok(values)
    }

    fn columns<const N: usize>(
        &self,
        keys: [&'static str; N],
        count: usize,
    ) -> Result<[Vec<f32>; N], FrameError> {
        let mut columns = [const { Vec::new() }; N];
        for (column, key) in columns.iter_mut().zip(keys) {
            *column = self.column(key, count)?;
        }
        Ok(columns)
    }

    /// `[x1, y1, x2, y2]` per object, from corners or from polygons.
    fn boxes(&self, count: usize) -> Result<Vec<[f32; 4]>, FrameError> {
        let corners = CORNERS.iter().any(|key| self.0.contains_key(*key));
        if !corners && self.0.contains_key(POLYGON_INDEX) {
            return self.polygons(count);
        }
        if let Some(key) = CORNERS.into_iter().find(|key| !self.0.contains_key(*key)) {
            return Err(FrameError::Missing { key });
        }
        let columns = self.columns(CORNERS, count)?;
        Ok((0..count).map(|index| columns.each_ref().map(|column| column[index])).collect())
    }

    fn polygons(&self, count: usize) -> Result<Vec<[f32; 4]>, FrameError> {
        let owners = self.integers(POLYGON_INDEX)?.unwrap_or_default();
        for key in POLYGON {
            check_count(key, owners.len(), self.floats(key)?.ok_or(FrameError::Missing { key })?.len())?;
        }
        let [xs, ys] = self.columns(POLYGON, owners.len())?;
        let mut boxes: Vec<Option<[f32; 4]>> = vec![None; count];
        for ((owner, x), y) in owners.into_iter().zip(xs).zip(ys) {
            let slot = usize::try_from(owner).ok().and_then(|owner| boxes.get_mut(owner));
            let slot = slot.ok_or(FrameError::OutOfRange { key: POLYGON_INDEX, value: owner })?;
            let [x1, y1, x2, y2] = slot.unwrap_or([x, y, x, y]);
            *slot = Some([x1.min(x), y1.min(y), x2.max(x), y2.max(y)]);
        }
        let found = |(object, slot): (usize, Option<_>)| slot.ok_or(FrameError::NoCorners { object });
        boxes.into_iter().enumerate().map(found).collect()
    }

    fn point_cloud(&self) -> Result<Option<PointCloud>, FrameError> {
        let Some(id) = self.text(POINT_CLOUD_ID)? else { return Ok(None) };
        let key = POINT_CLOUD_CHANNELS;
        let channels = single(key, self.integers(key)?.ok_or(FrameError::Missing { key })?)?;
        Ok(Some(PointCloud { id, channels: in_range(key, channels)? }))
    }

    fn calibration(&self) -> Result<Option<Calibration>, FrameError> {
        match (self.floats(LIDAR_TO_CAMERA)?, self.floats(LIDAR_TO_IMAGE)?) {
            (None, None) => Ok(None),
            (None, _) => Err(FrameError::Missing { key: LIDAR_TO_CAMERA }),
            (_, None) => Err(FrameError::Missing { key: LIDAR_TO_IMAGE }),
            (Some(camera), Some(image)) => Ok(Some(Calibration {
                lidar_to_camera: matrix(LIDAR_TO_CAMERA, &camera)?,
                lidar_to_image: matrix(LIDAR_TO_IMAGE, &image)?,
            })),
        }
    }
}

fn matrix<const N: usize>(key: &'static str, values: &[f32]) -> Result<[f32; N], FrameError> {
    values.try_into().map_err(|_| FrameError::WrongCount { key, want: N, found: values.len() })
}

fn single<T>(key: &'static str, values: Vec<T>) -> Result<T, FrameError> {
    let found = values.len();
    match <[T; 1]>::try_from(values) {
        Ok([value]) => Ok(value),
        Err(_) => Err(FrameError::WrongCount { key, want: 1, found }),
    }
}

fn check_count(key: &'static str, want: usize, found: usize) -> Result<(), FrameError> {
    if found == want { Ok(()) } else { Err(FrameError::WrongCount { key, want, found }) }
}

fn in_range<T: TryFrom<i64>>(key: &'static str, value: i64) -> Result<T, FrameError> {
    T::try_from(value).map_err(|_| FrameError::OutOfRange { key, value })
}

#[cfg(test)]
mod tests;
