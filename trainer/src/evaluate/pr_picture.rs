//! The precision–recall curves as a picture.

use std::error::Error;

use oxidet_vision::Image;
use oxidet_vision::draw::class_colour;
use oxidet_vision::image::resize;
use oxidet_vision::metrics::Report;
use plotters::chart::ChartBuilder;
use plotters::element::{Circle, PathElement, Text};
use plotters::prelude::{BitMapBackend, IntoDrawingArea, IntoFont, LineSeries};
use plotters::style::{Color, FontStyle, RGBColor, TextStyle, WHITE, register_font};

/// Drawn this many times larger, then reduced, so that lines are smooth.
const SCALE: u32 = 2;
/// Pixels of the chart.
const CHART: (u32, u32) = (760, 620);
/// Pixels of a column of the legend, and the height of its lines.
const COLUMN: (u32, u32) = (190, 22);
/// Where the legend begins below the upper edge.
const LEGEND_TOP: u32 = 48;
const FONT: &str = "sans-serif";

/// A line for each class with objects, with a dot where F1 is highest, and a legend with its average precision.
pub fn pr_picture(classes: &[String], report: &Report) -> Image {
    // Plotters fails when it has no font or no room. It has both.
    draw(classes, report).expect("fonts are embedded and the picture is as large as its parts")
}

fn draw(classes: &[String], report: &Report) -> Result<Image, Box<dyn Error>> {
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).map_err(|_| "the embedded font")?;
    let shown: Vec<usize> =
        (0..classes.len()).filter(|class| report.per_class[*class].ap.is_some()).collect();
    let rows = (CHART.1 - LEGEND_TOP) / COLUMN.1;
    let columns = u32::try_from(shown.len())?.div_ceil(rows).max(1);
    let (width, height) = ((CHART.0 + columns * COLUMN.0) * SCALE, CHART.1 * SCALE);
    let mut pixels = vec![0; width as usize * height as usize * 3];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        area.fill(&WHITE)?;
        let (left, legend) = area.split_horizontally(CHART.0 * SCALE);
        let text = |size: u32| TextStyle::from((FONT, size * SCALE).into_font()).color(&RGBColor(40, 40, 40));
        let map = report.map.map_or("-".into(), |map| format!("{map:.3}"));
        let title = format!(
            "Precision-Recall curve    mAP {map} ({}, IoU {})",
            report.mode.name(),
            report.iou_threshold
        );
        let mut chart = ChartBuilder::on(&left)
            .caption(title, text(17))
            .margin(14 * SCALE)
            .x_label_area_size(46 * SCALE)
            .y_label_area_size(56 * SCALE)
            .build_cartesian_2d(0.0..1.0, 0.0..1.02)?;
        chart
            .configure_mesh()
            .x_labels(11)
            .y_labels(11)
            .x_label_formatter(&|x| format!("{x:.1}"))
            .y_label_formatter(&|y| format!("{y:.1}"))
            .x_desc("Recall")
            .y_desc("Precision")
            .label_style(text(12))
            .axis_desc_style(text(14))
            .light_line_style(RGBColor(242, 242, 242))
            .bold_line_style(RGBColor(215, 215, 215))
            .draw()?;
        for (place, class) in shown.into_iter().enumerate() {
            let colour = dark(class);
            let line = colour.stroke_width(2 * SCALE);
            let result = &report.per_class[class];
            let first = result.curve.first().map(|point| (0.0, point.precision));
            let points =
                first.into_iter().chain(result.curve.iter().map(|point| (point.recall, point.precision)));
            chart.draw_series(LineSeries::new(points, line))?;
            if let Some(best) = result.best_f1 {
                let place = (best.recall, best.precision);
                chart.draw_series([Circle::new(place, 4 * SCALE, colour.filled())])?;
            }
            let (column, row) = (place as u32 / rows, place as u32 % rows);
            let x = (column * COLUMN.0 * SCALE) as i32;
            let y = ((LEGEND_TOP + row * COLUMN.1) * SCALE) as i32;
            let (step, middle) = (SCALE as i32, y + 7 * SCALE as i32);
            legend.draw(&PathElement::new([(x, middle), (x + 22 * step, middle)], line))?;
            let ap = result.ap.map_or("-".into(), |ap| format!("{ap:.3}"));
            let words = format!("{ap}  {}", shortened(&classes[class]));
            legend.draw(&Text::new(words, (x + 28 * step, y), text(13)))?;
        }
        area.present()?;
    }
    let large = Image { width: width as usize, height: height as usize, channels: 3, data: pixels };
    Ok(resize(&large, (width / SCALE) as usize, (height / SCALE) as usize))
}

/// The colour of a class, dark enough for a line on white.
fn dark(class: usize) -> RGBColor {
    const LIGHTEST: f32 = 140.0;
    let [r, g, b] = class_colour(class).map(f32::from);
    let share = (LIGHTEST / (0.299 * r + 0.587 * g + 0.114 * b)).min(1.0);
    let [r, g, b] = [r, g, b].map(|v| (v * share) as u8);
    RGBColor(r, g, b)
}

/// A name that has room in the legend.
fn shortened(name: &str) -> String {
    const LENGTH: usize = 15;
    if name.chars().count() <= LENGTH {
        return name.to_owned();
    }
    name.chars().take(LENGTH - 1).chain(std::iter::once('…')).collect()
}
