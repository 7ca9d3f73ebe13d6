use super::*;

fn frame() -> Frame {
    let object = Object {
        class: "car".into(),
        truncation: 0.25,
        occlusion: 2,
        alpha: -1.57,
        bbox: [10.5, 20.0, 30.25, 40.0],
        dimensions: [1.5, 1.6, 3.7],
        location: [0.1, 1.7, 23.9],
        rotation_y: -1.48,
        score: None,
        line: 0,
    };
    let other =
        Object { class: "fußgänger".into(), occlusion: -1, bbox: [-1.0, 0.0, 5.0, 6.0], ..object.clone() };
    Frame {
        id: "image_2/000123".into(),
        width: 1242,
        height: 375,
        objects: vec![object, other],
        point_cloud: Some(PointCloud { id: "velodyne/000123".into(), channels: 4 }),
        calibration: Some(Calibration {
            lidar_to_camera: std::array::from_fn(|i| i as f32),
            lidar_to_image: std::array::from_fn(|i| -(i as f32)),
        }),
    }
}

/// The frame's record after a change to its features.
fn changed(change: impl FnOnce(&mut BTreeMap<String, Feature>)) -> Result<Frame, FrameError> {
    let mut features = Example::decode(&frame().encode()[..]).unwrap().features.unwrap();
    change(&mut features.feature);
    Frame::decode(&Example { features: Some(features) }.encode_to_vec())
}

fn with(key: &str, value: impl Into<Feature>) -> Result<Frame, FrameError> {
    changed(|features| {
        features.insert(key.to_owned(), value.into());
    })
}

fn without(keys: &[&str]) -> Result<Frame, FrameError> {
    changed(|features| keys.iter().for_each(|key| drop(features.remove(*key))))
}

#[test]
fn frames_come_back() {
    let plain = Frame { point_cloud: None, calibration: None, ..frame() };
    let negative = Frame { objects: Vec::new(), ..plain.clone() };
    for frame in [frame(), plain, negative] {
        assert_eq!(Frame::decode(&frame.encode()).unwrap(), frame);
    }
}

/// The keys as the fact sheet lists them, written out.
#[test]
fn keys_are_taos() {
    let example = Example::decode(&frame().encode()[..]).unwrap();
    let kinds: Vec<String> = example
        .features
        .unwrap()
        .feature
        .iter()
        .map(|(key, feature)| {
            let kind = feature.kind.as_ref().unwrap();
            format!("{key} {} {}", kind.len(), kind.name())
        })
        .collect();
    let want = "calibration/P_lidar_to_image 12 floats, calibration/T_lidar_to_camera 16 floats, \
        frame/height 1 integers, frame/id 1 bytes, frame/width 1 integers, point_cloud/id 1 bytes, \
        point_cloud/num_input_channels 1 integers, target/coordinates_x1 2 floats, target/coordinates_x2 2 floats, \
        target/coordinates_y1 2 floats, target/coordinates_y2 2 floats, target/object_class 2 bytes, \
        target/observation_angle 2 floats, target/occlusion 2 integers, target/truncation 2 floats, \
        target/world_bbox_h 2 floats, target/world_bbox_l 2 floats, target/world_bbox_rot_y 2 floats, \
        target/world_bbox_w 2 floats, target/world_bbox_x 2 floats, target/world_bbox_y 2 floats, \
        target/world_bbox_z 2 floats";
    assert_eq!(kinds.join(", "), want);
}

#[test]
fn what_is_not_needed_may_be_absent() {
    let mut keys =
        vec![TRUNCATION, OCCLUSION, ALPHA, ROTATION_Y, LIDAR_TO_CAMERA, LIDAR_TO_IMAGE, POINT_CLOUD_ID];
    keys.extend(DIMENSIONS.iter().chain(&LOCATION));
    let found = without(&keys).unwrap();
    let object = &found.objects[0];
    assert_eq!((object.occlusion, object.truncation, object.alpha, object.rotation_y), (0, 0.0, 0.0, 0.0));
    assert_eq!(
        (object.dimensions, object.location, object.bbox),
        ([0.0; 3], [0.0; 3], frame().objects[0].bbox)
    );
    assert_eq!((found.point_cloud, found.calibration), (None, None));
    for key in [ID, WIDTH, HEIGHT, CLASS].into_iter().chain(CORNERS) {
        assert_eq!(without(&[key]), Err(FrameError::Missing { key }));
    }
}

#[test]
fn errors_name_the_feature() {
    let cases: Vec<(&str, Feature)> = vec![
        (ID, vec![1_i64].into()),
        (ID, vec![vec![0xff]].into()),
        (ID, vec![b"a".to_vec(), b"b".to_vec()].into()),
        (WIDTH, vec![1.0_f32].into()),
        (WIDTH, vec![0_i64].into()),
        (HEIGHT, vec![-3_i64].into()),
        (HEIGHT, vec![1_i64 << 32].into()),
        (CLASS, vec![b"car".to_vec(), vec![0xff]].into()),
        (CLASS, vec![1_i64, 2].into()),
        (TRUNCATION, vec![0.0_f32].into()),
        (OCCLUSION, vec![0_i64, 1 << 40].into()),
        (OCCLUSION, vec![0_i64; 3].into()),
        (ALPHA, vec![0.0, f32::INFINITY].into()),
        (CORNERS[2], vec![f32::NAN, 0.0].into()),
        (CORNERS[3], vec![1_i64, 2].into()),
        (LIDAR_TO_CAMERA, vec![0.0_f32; 15].into()),
        (POINT_CLOUD_CHANNELS, vec![-1_i64].into()),
    ];
    for (key, value) in cases {
        let error = with(key, value).unwrap_err().to_string();
        assert!(error.contains(&format!("{key:?}")), "{key}: {error}");
    }
    // The number of classes is the number of objects.
    assert!(with(CLASS, vec![b"car".to_vec()]).unwrap_err().to_string().contains(CORNERS[0]));
}

#[test]
fn polygons_become_boxes() {
    let polygons = |index: Vec<i64>, x: Vec<f32>| {
        changed(|features| {
            CORNERS.iter().for_each(|key| drop(features.remove(*key)));
            features.insert(POLYGON_INDEX.into(), index.into());
            features.insert(POLYGON[0].into(), x.into());
            features.insert(POLYGON[1].into(), vec![5.0, 1.0, 3.0, 9.0, 8.0].into());
        })
    };
    let found = polygons(vec![0, 0, 0, 1, 1], vec![4.0, 2.0, 7.0, 1.0, 0.0]).unwrap();
    assert_eq!([found.objects[0].bbox, found.objects[1].bbox], [[2.0, 1.0, 7.0, 5.0], [0.0, 8.0, 1.0, 9.0]]);
    let error = |index, x| polygons(index, x).unwrap_err().to_string();
    assert!(error(vec![0; 5], vec![0.0; 5]).contains("object 1"));
    assert!(error(vec![0, 0, 0, 1, 2], vec![0.0; 5]).contains(POLYGON_INDEX));
    assert!(error(vec![0, 0, 0, 1, -1], vec![0.0; 5]).contains(POLYGON_INDEX));
    assert!(error(vec![0, 0, 0, 1, 1], vec![0.0; 4]).contains(POLYGON[0]));
}

/// Kinds are only stated by some writers when there are no values.
#[test]
fn features_without_kind_have_no_values() {
    let found = changed(|features| {
        for (key, feature) in features.iter_mut() {
            if key.starts_with("target/") {
                *feature = Feature { kind: None };
            }
        }
    });
    assert_eq!(found.unwrap().objects, []);
}

#[test]
fn damage_never_panics() {
    let bytes = frame().encode();
    let mut refused = 0;
    for length in 0..bytes.len() {
        refused += usize::from(Frame::decode(&bytes[..length]).is_err());
    }
    // Protobuf has no end mark, but a frame cut at a feature's border lacks one that is needed.
    assert!(refused >= bytes.len() - 12, "{refused} of {}", bytes.len());
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let _ = Frame::decode(&bytes);
    }
}
