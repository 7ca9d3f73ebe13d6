//! Scalars as the text format writes them: `bool`, numbers, strings, enumerations.
//!
//! Leniency is that of the original's parser, checked construct by construct in the tests below.

use serde_json::Value as Json;

use super::bind::Binder;
use super::message::{Element, EnumDescriptor, Kind, Scalar};
use crate::prototxt::{self, ScalarKind, Value, closest};

/// Why a written value does not fit its field.
#[derive(Debug, Default, PartialEq, Eq)]
#[doc(hidden)]
pub struct Misfit {
    /// Completes "`field` ": "is a yes/no field, …".
    pub(super) message: String,
    pub(super) help: Option<String>,
    /// The value is a name or number that an enumeration does not have.
    pub(super) unknown_enum_value: bool,
}

fn misfit(message: impl Into<String>, help: impl Into<Option<&'static str>>) -> Misfit {
    Misfit { message: message.into(), help: help.into().map(str::to_owned), unknown_enum_value: false }
}

macro_rules! scalar {
    ($ty:ty, $kind:ident, $read:expr, $json:expr) => {
        impl Element for $ty {
            const KIND: Kind = Kind::$kind;

            fn merge(&mut self, value: &Value<'_>, binder: &mut Binder<'_>) {
                binder.scalar(value, self, $read);
            }

            fn json(&self) -> Json {
                $json(self)
            }
        }

        impl Scalar for $ty {}
    };
}

scalar!(bool, Bool, boolean, |v: &bool| Json::from(*v));
scalar!(f32, Float, |s| Ok(float(s)? as f32), |v: &f32| float_json(f64::from(*v), v.to_string()));
scalar!(f64, Double, float, |v: &f64| float_json(*v, v.to_string()));
scalar!(i32, Int32, |s| integer(s, i64::from(i32::MIN), i64::from(i32::MAX)), |v: &i32| Json::from(*v));
scalar!(u32, Uint32, |s| integer(s, 0, i64::from(u32::MAX)), |v: &u32| Json::from(*v));
scalar!(String, String, string, |v: &String| Json::from(v.as_str()));

fn boolean(written: &prototxt::Scalar<'_>) -> Result<bool, Misfit> {
    match (written.kind, &*written.text) {
        (ScalarKind::Ident, "true" | "True" | "t") | (ScalarKind::Number, "1") => Ok(true),
        (ScalarKind::Ident, "false" | "False" | "f") | (ScalarKind::Number, "0") => Ok(false),
        _ => Err(misfit("takes `true` or `false`", None)),
    }
}

fn string(written: &prototxt::Scalar<'_>) -> Result<String, Misfit> {
    match written.kind {
        ScalarKind::String => Ok(written.text.clone().into_owned()),
        _ => Err(Misfit {
            message: "takes a string".to_owned(),
            help: Some(format!("write \"{}\", with quotes", written.text)),
            unknown_enum_value: false,
        }),
    }
}

fn integer<T: TryFrom<i64>>(written: &prototxt::Scalar<'_>, least: i64, most: i64) -> Result<T, Misfit> {
    let takes = || format!("takes a whole number from {least} to {most}");
    let Some(value) = (written.kind == ScalarKind::Number).then(|| whole_number(&written.text)).flatten()
    else {
        return Err(misfit(takes(), None));
    };
    T::try_from(value).map_err(|_| misfit(takes(), None))
}

/// Decimal, `0x` hexadecimal, or octal with a leading 0. Numbers beyond `i64` saturate: no field is that
/// wide.
fn whole_number(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => (16, hex),
        None if digits.len() > 1 && digits.starts_with('0') => (8, digits),
        None => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    Some(i64::from_str_radix(digits, radix).map_or(i64::MAX, |magnitude| sign * magnitude))
        .map(|v| if v == i64::MAX { sign * v } else { v })
}

fn float(written: &prototxt::Scalar<'_>) -> Result<f64, Misfit> {
    const TAKES: &str = "takes a number";
    let bare = written.text.strip_prefix(['-', '+']).unwrap_or(&written.text).to_ascii_lowercase();
    let sign = if written.text.starts_with('-') { -1.0 } else { 1.0 };
    let bare = match bare.strip_suffix('f') {
        Some("in") | None => bare.as_str(),
        Some(without) => without,
    };
    match (written.kind, bare) {
        (ScalarKind::String, _) => Err(misfit(TAKES, "write it without quotes")),
        (_, "inf" | "infinity") => Ok(sign * f64::INFINITY),
        (_, "nan") => Ok(f64::NAN),
        (ScalarKind::Ident, _) => Err(misfit(TAKES, None)),
        (ScalarKind::Number, _) => {
            let decimal = bare.starts_with(|c: char| c.is_ascii_digit() || c == '.')
                && bare.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | '+' | '-'));
            if bare.len() > 1 && bare.starts_with('0') && bare.as_bytes()[1].is_ascii_digit() {
                return Err(misfit(TAKES, "remove the leading 0, which means octal"));
            }
            bare.parse::<f64>().ok().filter(|_| decimal).map(|v| sign * v).ok_or_else(|| misfit(TAKES, None))
        }
    }
}

/// The number of an enumeration's value that is written by name or by number.
#[doc(hidden)]
pub fn enum_number(known: &EnumDescriptor, written: &prototxt::Scalar<'_>) -> Result<i32, Misfit> {
    let names = || known.values.iter().map(|&(name, _)| name);
    match written.kind {
        ScalarKind::Ident => {
            let exact = known.values.iter().find(|&&(name, _)| name == written.text);
            exact.map(|&(_, number)| number).ok_or_else(|| Misfit {
                message: format!("has no value `{}`; it takes {}", written.text, one_of(names())),
                help: closest(&written.text, names()).map(|near| format!("did you mean `{near}`?")),
                unknown_enum_value: true,
            })
        }
        ScalarKind::String if names().any(|name| name == written.text) => {
            Err(misfit("takes a bare name", "write it without quotes"))
        }
        ScalarKind::Number if whole_number(&written.text).is_some() => {
            integer(written, i64::from(i32::MIN), i64::from(i32::MAX))
        }
        _ => Err(misfit(format!("takes {}", one_of(names())), None)),
    }
}

/// A number that the text format lets through and no code can use.
#[doc(hidden)]
pub fn unknown_number(known: &EnumDescriptor, number: i32) -> Misfit {
    let names = known.values.iter().map(|&(name, _)| name);
    Misfit {
        message: format!("has no value number {number}; it takes {}", one_of(names)),
        help: None,
        unknown_enum_value: true,
    }
}

fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// `shortest` is the value's shortest text; JSON has no literals for what is not finite.
fn float_json(value: f64, shortest: String) -> Json {
    match value {
        v if v.is_nan() => Json::from("NaN"),
        v if v == f64::INFINITY => Json::from("Infinity"),
        v if v == f64::NEG_INFINITY => Json::from("-Infinity"),
        v => Json::from(shortest.parse().unwrap_or(v)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AugmentationConfig, Message, parsed::parse_message};
    use super::super::{ClassWeightingConfig, DataSource, EvalConfig, TrainingConfig, Yolov4Config};

    fn read<M: Message>(text: &str) -> Option<M> {
        parse_message::<M>("spec", text).ok().map(|parsed| parsed.message)
    }

    // The verdicts and values in these tables were computed by Google's Python runtime (`text_format.Merge`), except where noted.

    #[test]
    fn floats() {
        for (text, want) in [
            ("1", Some(1.0)),
            ("1.", Some(1.0)),
            (".5", Some(0.5)),
            ("-1", Some(-1.0)),
            ("+1", Some(1.0)),
            ("1e-4", Some(1e-4)),
            ("1E+4", Some(1e4)),
            ("1f", Some(1.0)),
            ("1.5F", Some(1.5)),
            ("0f", Some(0.0)),
            ("-.5", Some(-0.5)),
            ("inf", Some(f32::INFINITY)),
            ("-inf", Some(f32::NEG_INFINITY)),
            ("INF", Some(f32::INFINITY)),
            ("infinity", Some(f32::INFINITY)),
            ("inff", Some(f32::INFINITY)),
            ("1e39", Some(f32::INFINITY)),
            ("1e400", Some(f32::INFINITY)),
            ("0.3", Some(0.3)),
            ("0x10", None),
            ("010", None),
            ("07.5", None),
            ("- 1", None),
            ("1e", None),
            ("1.2.3", None),
            ("1d", None),
            (".", None),
            ("0xf", None),
            ("\"1\"", None),
            ("true", None),
            ("--1", None),
            ("1_000", None), // Python: 1000
        ] {
            assert_eq!(read::<AugmentationConfig>(&format!("hue: {text}")).map(|m| m.hue), want, "{text}");
        }
        for text in ["nan", "-nan", "NaN", "nanf"] {
            assert!(
                read::<AugmentationConfig>(&format!("hue: {text}")).is_some_and(|m| m.hue.is_nan()),
                "{text}"
            );
        }
    }

    #[test]
    fn unsigned_integers() {
        for (text, want) in [
            ("1", Some(1)),
            ("0x1F", Some(31)),
            ("0XfF", Some(255)),
            ("017", Some(15)),
            ("+1", Some(1)),
            ("00", Some(0)),
            ("-0", Some(0)),
            ("4294967295", Some(u32::MAX)),
            ("4294967296", None),
            ("-1", None),
            ("1.0", None),
            ("018", None),
            ("1e3", None),
            ("0x", None),
            ("1u", None),
            ("- 0", None),
            ("\"1\"", None),
            ("99999999999999999999999", None),
            ("-99999999999999999999999", None),
        ] {
            assert_eq!(
                read::<EvalConfig>(&format!("batch_size: {text}")).map(|m| m.batch_size),
                want,
                "{text}"
            );
        }
    }

    #[test]
    fn signed_integers() {
        for (text, want) in [
            ("-2147483648", Some(i32::MIN)),
            ("-2147483649", None),
            ("2147483648", None),
            ("-0x10", Some(-16)),
            ("-017", Some(-15)),
        ] {
            let got = read::<AugmentationConfig>(&format!("output_width: {text}")).map(|m| m.output_width);
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn booleans() {
        for (text, want) in [
            ("true", Some(true)),
            ("True", Some(true)),
            ("t", Some(true)),
            ("1", Some(true)),
            ("false", Some(false)),
            ("False", Some(false)),
            ("f", Some(false)),
            ("0", Some(false)),
            ("TRUE", None),
            ("T", None),
            ("2", None),
            ("01", None),
            ("0x1", None),
            ("yes", None),
            ("\"true\"", None),
        ] {
            assert_eq!(
                read::<Yolov4Config>(&format!("freeze_bn: {text}")).map(|m| m.freeze_bn),
                want,
                "{text}"
            );
        }
    }

    #[test]
    fn strings() {
        for (text, want) in [
            (
                r#""a" 'b'
              "c""#,
                Some("abc"),
            ),
            ("'a\"b'", Some("a\"b")),
            ("\"é\"", Some("é")),
            (r#""\xc3\xa9""#, Some("é")),
            (r#""\xff""#, None),
            ("\"a\nb\"", None),
            ("\"a", None),
            ("abc", None),
            ("123", None),
        ] {
            assert_eq!(
                read::<Yolov4Config>(&format!("arch: {text}")).map(|m| m.arch).as_deref(),
                want,
                "{text}"
            );
        }
    }

    #[test]
    fn enumerations() {
        use super::super::ApMode::{Integrate, Sample};
        for (text, want) in [
            ("SAMPLE", Some(Sample)),
            ("INTEGRATE", Some(Integrate)),
            ("1", Some(Integrate)),
            ("0x1", Some(Integrate)),
            ("integrate", None),
            ("\"SAMPLE\"", None),
            ("-1", None),
            ("7", None), // Python keeps 7, and the original fails later
        ] {
            let got = read::<EvalConfig>(&format!("average_precision_mode: {text}"));
            assert_eq!(got.map(|m| m.average_precision_mode), want, "{text}");
        }
    }

    #[test]
    fn maps() {
        for (text, want) in [
            ("class_weighting {key:'a' value:1}", Some(vec![("a", 1.0)])),
            ("class_weighting: {key:'a' value:1}", Some(vec![("a", 1.0)])),
            ("class_weighting {key:'a'}", Some(vec![("a", 0.0)])),
            ("class_weighting {value:1}", Some(vec![("", 1.0)])),
            ("class_weighting {}", Some(vec![("", 0.0)])),
            ("class_weighting [{key:'a' value:1},{key:'b'}]", Some(vec![("a", 1.0), ("b", 0.0)])),
            ("class_weighting {key:'a' value:1 value:2}", Some(vec![("a", 2.0)])),
            ("class_weighting {key:'a' value:1} class_weighting {key:'a' value:2}", Some(vec![("a", 2.0)])),
            ("class_weighting {key:'a' value:1} class_weighting {key:'a'}", Some(vec![("a", 0.0)])),
            ("class_weighting {k:'a'}", None),
            ("class_weighting: 1", None),
        ] {
            let got = read::<ClassWeightingConfig>(text).map(|m| m.class_weighting);
            let want = want.map(|w| w.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn lists_and_messages() {
        for (text, want) in [
            ("freeze_blocks: [0, 1]", Some(vec![0.0, 1.0])),
            ("freeze_blocks: 0 freeze_blocks: [2]", Some(vec![0.0, 2.0])),
            ("freeze_blocks: []", Some(vec![])),
            ("freeze_blocks: [1,]", None),
            ("freeze_blocks [1]", None),
            ("freeze_blocks: [[1]]", None),
            ("freeze_blocks: [1 2]", None),
            ("arch: ['a']", None),
            ("arch: 'a',freeze_blocks: 1;", Some(vec![1.0])),
            ("freeze_blocks: 1;;", None),
            ("; freeze_blocks: 1", None),
            ("freeze_blocks: 1 # c\r\n", Some(vec![1.0])),
            ("\u{feff}freeze_blocks: 1", Some(vec![1.0])), // Python: refused
            ("FREEZE_BLOCKS: 1", None),
            ("[foo.bar]: 1", None),
            ("arch: {}", None),
            ("freeze_blocks: 1 }", None),
        ] {
            assert_eq!(read::<Yolov4Config>(text).map(|m| m.freeze_blocks), want, "{text}");
        }
        for (text, accepted) in [
            ("optimizer { sgd { momentum: 1 } }", true),
            ("optimizer: { sgd: { momentum: 1 } }", true),
            ("optimizer < sgd: < momentum: 1 > >", true),
            ("optimizer < sgd { momentum: 1 } }", false),
            ("optimizer [ { sgd {} } ]", false),
            ("optimizer: 5", false),
            ("optimizer { sgd { momentum: 1 }", false),
            ("optimizer{sgd{momentum:1}}optimizer{sgd{nesterov:t}},", true),
        ] {
            assert_eq!(read::<TrainingConfig>(text).is_some(), accepted, "{text}");
        }
    }

    #[test]
    fn oneofs_keep_the_last_member() {
        let last = read::<DataSource>("tfrecords_path: 'a' label_directory_path: ''").unwrap();
        assert_eq!((last.tfrecords_path, last.label_directory_path), (None, Some(String::new())));

        let text =
            "optimizer { adam { beta1: 1 } sgd { momentum: 2 } adam { beta2: 3 } adam { epsilon: 4 } }";
        let optimizer = read::<TrainingConfig>(text).unwrap().optimizer.unwrap();
        let adam = optimizer.adam.unwrap();
        assert_eq!((adam.beta1, adam.beta2, adam.epsilon, optimizer.sgd), (0.0, 3.0, 4.0, None));
    }
}
