//! Drawing detections into an image: boxes and labels, sized to the image, in a fixed colour per class; captions below it.

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};

use crate::metrics::Truth;
use crate::{Image, PxBox};

/// A detection to draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Where, in pixels.
    pub bbox: PxBox,
    /// Class id; decides the colour.
    pub class: usize,
    /// Written above the box.
    pub text: String,
}

/// A box to draw, in any colour.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Where, in pixels.
    pub bbox: PxBox,
    /// Red, green and blue.
    pub colour: [u8; 3],
    /// Written above the box.
    pub text: String,
}

/// Twenty colours that stay apart, after Trubetskoy's list.
const PALETTE: [[u8; 3]; 20] = [
    [230, 25, 75],
    [60, 180, 75],
    [255, 225, 25],
    [0, 130, 200],
    [245, 130, 48],
    [145, 30, 180],
    [70, 240, 240],
    [240, 50, 230],
    [210, 245, 60],
    [250, 190, 212],
    [0, 128, 128],
    [220, 190, 255],
    [170, 110, 40],
    [255, 250, 200],
    [128, 0, 0],
    [170, 255, 195],
    [128, 128, 0],
    [255, 215, 180],
    [0, 0, 128],
    [128, 128, 128],
];

/// Red, green and blue of a class.
pub fn class_colour(class: usize) -> [u8; 3] {
    PALETTE[class % PALETTE.len()]
}

/// The image with `lines` written on a strip below it, dark on light, broken at blanks where they are too long.
pub fn with_caption(image: &Image, lines: &[String]) -> Image {
    const SIZE: f32 = 11.0;
    const MARGIN: usize = 5;
    const PAPER: u8 = 245;
    const INK: [u8; 3] = [30; 3];
    let font = FontRef::try_from_slice(dejavu::sans::regular()).expect("the embedded font is sound");
    let scaled = font.as_scaled(PxScale::from(SIZE));
    let room = image.width.saturating_sub(2 * MARGIN) as f32;
    let lines: Vec<String> =
        lines.iter().flat_map(|line| broken(line, room, |text| advance(&font, SIZE, text))).collect();
    let line_height = scaled.height().ceil() as usize + 1;
    let height = image.height + 2 * MARGIN + lines.len() * line_height;
    let mut out = Image::filled(image.width, height, &vec![PAPER; image.channels]);
    out.paste(image, 0, 0);
    for (number, line) in lines.iter().enumerate() {
        let baseline = (image.height + MARGIN + number * line_height) as f32 + scaled.ascent();
        write(&mut out, &font, SIZE, (MARGIN as f32, baseline), line, INK);
    }
    out
}

/// Breaks a line at blanks so that each part has room; a word that has none stands alone.
fn broken(line: &str, room: f32, advance: impl Fn(&str) -> f32) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split_whitespace() {
        let last = lines.last_mut().expect("there is always one");
        let longer = if last.is_empty() { word.to_owned() } else { format!("{last} {word}") };
        if last.is_empty() || advance(&longer) <= room { *last = longer } else { lines.push(word.to_owned()) }
    }
    lines
}

fn advance(font: &FontRef<'_>, size: f32, text: &str) -> f32 {
    let scaled = font.as_scaled(PxScale::from(size));
    text.chars().map(|c| scaled.h_advance(font.glyph_id(c))).sum()
}

/// Draws in order, each class in its colour; see [`draw_marks`].
pub fn draw_detections(image: &mut Image, labels: &[Label]) {
    let mark = |label: &Label| Mark {
        bbox: label.bbox,
        colour: class_colour(label.class),
        text: label.text.clone(),
    };
    draw_marks(image, &labels.iter().map(mark).collect::<Vec<_>>());
}

/// Draws in order; later ones cover earlier ones. Parts outside the image are left out, boxes that are not finite altogether.
pub fn draw_marks(image: &mut Image, marks: &[Mark]) {
    let font = FontRef::try_from_slice(dejavu::sans::bold()).expect("the embedded font is sound");
    let side = image.width.min(image.height) as f32;
    let line = (side / 250.0).round().max(1.0) as i64;
    let text = (side / 30.0).clamp(10.0, 48.0);
    for mark in marks {
        let b = mark.bbox;
        let corners = [b.x1, b.y1, b.x2, b.y2];
        if corners.iter().any(|x| !x.is_finite()) {
            continue;
        }
        // Beyond the borders nothing is drawn anyway.
        let [x1, y1, x2, y2] = corners.map(|x| x.clamp(-1e6, 1e6).round() as i64);
        let colour = mark.colour;
        fill(image, [x1, y1, x2, y1 + line], colour);
        fill(image, [x1, y2 - line, x2, y2], colour);
        fill(image, [x1, y1, x1 + line, y2], colour);
        fill(image, [x2 - line, y1, x2, y2], colour);
        draw_text(image, &font, text, (x1, y1), &mark.text, colour);
    }
}

/// Draws the objects of an image with the names of their classes; a class id is an index into `classes`.
pub fn draw_truths(image: &mut Image, truths: &[Truth], classes: &[String]) {
    let (w, h) = (image.width as f32, image.height as f32);
    let label = |truth: &Truth| {
        let b = truth.bbox;
        let bbox = PxBox { x1: b.x1 * w, y1: b.y1 * h, x2: b.x2 * w, y2: b.y2 * h };
        let text = classes.get(truth.class).cloned().unwrap_or_default();
        Label { bbox, class: truth.class, text }
    };
    draw_detections(image, &truths.iter().map(label).collect::<Vec<_>>());
}

/// Writes on a bar above `corner`, or below it where there is no room.
fn draw_text(image: &mut Image, font: &FontRef<'_>, size: f32, corner: (i64, i64), text: &str, bar: [u8; 3]) {
    if text.is_empty() {
        return;
    }
    let scaled = font.as_scaled(PxScale::from(size));
    let margin = size / 5.0;
    let width = advance(font, size, text);
    let (bar_width, bar_height) =
        ((width + 2.0 * margin).ceil() as i64, (scaled.height() + margin).ceil() as i64);
    let left = corner.0.min(image.width as i64 - bar_width).max(0);
    let top = if corner.1 >= bar_height { corner.1 - bar_height } else { corner.1.max(0) };
    fill(image, [left, top, left + bar_width, top + bar_height], bar);

    let [r, g, b] = bar.map(f32::from);
    let ink = if 0.299 * r + 0.587 * g + 0.114 * b > 140.0 { [0; 3] } else { [255; 3] };
    let baseline = top as f32 + margin / 2.0 + scaled.ascent();
    write(image, font, size, (left as f32 + margin, baseline), text, ink);
}

/// Writes one line that begins at `x` on a baseline.
fn write(
    image: &mut Image,
    font: &FontRef<'_>,
    size: f32,
    (x, baseline): (f32, f32),
    text: &str,
    ink: [u8; 3],
) {
    let scaled = font.as_scaled(PxScale::from(size));
    let mut x = x;
    for c in text.chars() {
        let id = font.glyph_id(c);
        let glyph = id.with_scale_and_position(size, point(x, baseline));
        x += scaled.h_advance(id);
        if let Some(outline) = font.outline_glyph(glyph) {
            let bounds = outline.px_bounds();
            outline.draw(|dx, dy, share| {
                let (x, y) = (bounds.min.x as i64 + i64::from(dx), bounds.min.y as i64 + i64::from(dy));
                blend(image, x, y, ink, share);
            });
        }
    }
}

/// Fills left, top, right, bottom.
fn fill(image: &mut Image, [left, top, right, bottom]: [i64; 4], colour: [u8; 3]) {
    for y in top.max(0)..bottom.min(image.height as i64) {
        for x in left.max(0)..right.min(image.width as i64) {
            blend(image, x, y, colour, 1.0);
        }
    }
}

fn blend(image: &mut Image, x: i64, y: i64, colour: [u8; 3], share: f32) {
    if x < 0 || y < 0 || x >= image.width as i64 || y >= image.height as i64 {
        return;
    }
    let at = (y as usize * image.width + x as usize) * image.channels;
    let [r, g, b] = colour.map(f32::from);
    let luma = [0.299 * r + 0.587 * g + 0.114 * b];
    let paint: &[f32] = if image.channels == 1 { &luma } else { &[r, g, b] };
    for (old, new) in image.data[at..at + image.channels].iter_mut().zip(paint) {
        *old = (f32::from(*old) + (new - f32::from(*old)) * share.clamp(0.0, 1.0)).round() as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(b: [f32; 4]) -> Label {
        let bbox = PxBox { x1: b[0], y1: b[1], x2: b[2], y2: b[3] };
        Label { bbox, class: 0, text: "thing 0.97".into() }
    }

    #[test]
    fn a_box_has_a_border_and_no_filling() {
        let mut image = Image::filled(200, 100, &[10u8, 10, 10]);
        draw_detections(&mut image, &[label([20.0, 40.0, 180.0, 90.0])]);
        let at = |x: usize, y: usize| &image.data[(y * 200 + x) * 3..][..3];
        assert_eq!(at(20, 60), PALETTE[0]);
        assert_eq!(at(179, 60), PALETTE[0]);
        assert_eq!(at(100, 89), PALETTE[0]);
        assert_eq!(at(100, 70), [10, 10, 10]);
        assert!(image.data.chunks(3).any(|p| p == [255, 255, 255]), "the label is written in white");
    }

    #[test]
    fn captions_stand_below_and_are_broken() {
        let image = Image::filled(120, 50, &[9u8, 9, 9]);
        let short = with_caption(&image, &["short".into()]);
        let long = with_caption(&image, &["a long line that has no room in so narrow a picture".into()]);
        assert!(short.height > 50 && long.height > short.height + 20, "{} {}", short.height, long.height);
        assert_eq!(long.data[..image.data.len()], image.data, "the picture stays as it is");
        assert!(short.data[image.data.len()..].iter().any(|v| *v < 120), "something is written");
        let narrow = Image::filled(3, 3, &[9u8]);
        assert_eq!(with_caption(&narrow, &["wide words".into(), String::new()]).width, 3);
        let word = |text: &str| text.len() as f32;
        assert_eq!(broken("ab cd efghij k", 5.0, word), ["ab cd", "efghij", "k"]);
    }

    #[test]
    fn nothing_outside_or_unreal_is_a_problem() {
        for channels in [1, 3] {
            let mut image = Image::filled(30, 20, &vec![7; channels]);
            let far = f32::MAX;
            for b in [
                [-50.0, -50.0, 90.0, 90.0],
                [far, far, far, far],
                [-far, -far, far, far],
                [f32::NAN, 0.0, 1.0, 1.0],
                [25.0, 15.0, 3.0, 2.0],
                [29.0, 19.0, 31.0, 21.0],
            ] {
                draw_detections(&mut image, &[label(b)]);
            }
        }
        draw_detections(&mut Image::filled(1, 1, &[0u8]), &[label([0.0, 0.0, 1.0, 1.0])]);
    }
}
