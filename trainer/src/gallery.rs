//! Samples of a data set as the network sees them, for people to look at.

use std::sync::Arc;

use oxidet_graph::preprocess_from_spec;
use oxidet_proto::lint::Checked;
use oxidet_vision::draw::{draw_truths, with_caption};
use oxidet_vision::image::resize;
use oxidet_vision::metrics::Truth;
use oxidet_vision::{Image, Picture, Preprocess};

use crate::augment::{Place, Recipe, visible};
use crate::data::{
    CacheBudget, DataError, Dataset, DatasetRequest, ImageOptions, ImageStore, Split, TrainingData,
    TrainingSettings,
};

/// The samples of a split, in the order they are shown.
#[derive(Debug)]
pub struct Gallery {
    dataset: Arc<Dataset>,
    order: Vec<usize>,
    view: View,
}

#[derive(Debug)]
enum View {
    Training { data: TrainingData, epoch: u64 },
    Validation { store: ImageStore, preprocess: Preprocess },
}

/// A sample with its boxes.
#[derive(Clone, Debug, PartialEq)]
pub struct Exhibit {
    /// Name of its file without extension.
    pub name: String,
    /// The canvas, boxes and class names drawn.
    pub image: Image,
    /// How the canvas was made: its size, then a line for each image in it.
    pub recipe: Vec<String>,
}

impl Gallery {
    /// What an epoch of training, counted from 0, sees under a seed, in its order. `spec` is checked for training.
    ///
    /// # Errors
    /// When the data cannot be opened.
    pub fn training(
        spec: &Checked,
        epoch: u64,
        seed: u64,
        options: &ImageOptions,
    ) -> Result<Self, DataError> {
        let (dataset, store) = open(spec, Split::Train, options)?;
        let data = TrainingData::new(dataset.clone(), store, TrainingSettings::from_spec(spec, seed));
        let order = data.order(epoch);
        Ok(Self { dataset, order, view: View::Training { data, epoch } })
    }

    /// What validation sees.
    ///
    /// # Errors
    /// When the data cannot be opened.
    pub fn validation(spec: &Checked, options: &ImageOptions) -> Result<Self, DataError> {
        let (dataset, store) = open(spec, Split::Validation, options)?;
        let order = (0..dataset.samples.len()).collect();
        Ok(Self {
            dataset,
            order,
            view: View::Validation { store, preprocess: preprocess_from_spec(spec.augmentation()) },
        })
    }

    /// Samples.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The sample at a place of the order.
    ///
    /// # Errors
    /// When an image cannot be read.
    ///
    /// # Panics
    /// When `place` is not below [`len`](Self::len).
    pub fn exhibit(&self, place: usize) -> Result<Exhibit, DataError> {
        let sample = self.order[place];
        let (canvas, truths, recipe) = match &self.view {
            View::Training { data, epoch } => {
                let recipe = data.recipe(*epoch, sample, place);
                let (canvas, truths) = data.render(&recipe)?;
                (canvas, truths, self.tell(&recipe))
            }
            View::Validation { store, preprocess } => self.letterboxed(sample, store, preprocess)?,
        };
        let name = format!("{place:03}_{}", self.stem(sample));
        Ok(Exhibit { name, image: self.draw(&canvas, &truths), recipe })
    }

    fn letterboxed(
        &self,
        sample: usize,
        store: &ImageStore,
        preprocess: &Preprocess,
    ) -> Result<(Picture, Vec<Truth>, Vec<String>), DataError> {
        let (canvas, letterbox) = preprocess.canvas(&*store.get(&self.dataset, sample)?);
        let truth = |object: &crate::data::Object| Truth {
            class: object.class,
            difficult: object.difficult,
            bbox: letterbox.to_canvas(&object.bbox),
        };
        let truths = visible(self.dataset.samples[sample].objects.iter().map(truth));
        let recipe = vec![
            format!("canvas {}x{}", preprocess.width, preprocess.height),
            format!(
                "{}: {}x{} letterboxed to {}x{} at ({}, {})",
                self.file(sample),
                letterbox.image.0,
                letterbox.image.1,
                letterbox.width,
                letterbox.height,
                letterbox.left,
                letterbox.top
            ),
        ];
        Ok((canvas, truths, recipe))
    }

    fn tell(&self, recipe: &Recipe) -> Vec<String> {
        let mut lines = vec![format!("canvas {}x{}", recipe.width, recipe.height)];
        lines.extend(recipe.parts.iter().map(|part| {
            let Place { left, top, width, height } = part.place;
            format!("{} in {width}x{height} at ({left}, {top}): {part}", self.file(part.sample))
        }));
        lines
    }

    fn draw(&self, canvas: &Picture, truths: &[Truth]) -> Image {
        let mut image = canvas.to_viewable().to_color();
        draw_truths(&mut image, truths, &self.dataset.classes);
        image
    }

    fn file(&self, sample: usize) -> String {
        self.dataset.samples[sample].image.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn stem(&self, sample: usize) -> String {
        self.dataset.samples[sample].image.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn open(
    spec: &Checked,
    split: Split,
    options: &ImageOptions,
) -> Result<(Arc<Dataset>, ImageStore), DataError> {
    let request = DatasetRequest::new(spec, options.bad_images);
    let dataset = Arc::new(Dataset::open(&request, split)?);
    let depth = preprocess_from_spec(spec.augmentation()).depth;
    let store = ImageStore::new(&dataset, depth, CacheBudget::new(options.cache_bytes));
    Ok((dataset, store))
}

impl Exhibit {
    /// The picture with its recipe below.
    pub fn with_recipe(&self) -> Image {
        with_caption(&self.image, &self.recipe)
    }
}

/// Many exhibits on one sheet, as wide as high where possible.
#[derive(Debug, Default)]
pub struct ContactSheet {
    cells: Vec<Image>,
}

impl ContactSheet {
    /// Width and height a picture of the sheet fits into, in pixels.
    const ROOM: (f64, f64) = (320.0, 320.0);
    const GAP: usize = 8;

    /// Adds a picture, and its name below.
    pub fn add(&mut self, exhibit: &Exhibit) {
        let (w, h) = (exhibit.image.width as f64, exhibit.image.height as f64);
        let scale = (Self::ROOM.0 / w).min(Self::ROOM.1 / h);
        let side = |pixels: f64| ((pixels * scale).round() as usize).max(1);
        let small = resize(&exhibit.image, side(w), side(h));
        self.cells.push(with_caption(&small, std::slice::from_ref(&exhibit.name)));
    }

    /// The sheet.
    pub fn image(&self) -> Image {
        let columns = (1..).find(|columns| columns * columns >= self.cells.len()).unwrap_or(1).max(1);
        let side = |cells: &[Image], of: fn(&Image) -> usize| cells.iter().map(of).max().unwrap_or(0);
        let width = side(&self.cells, |cell| cell.width);
        let heights: Vec<usize> =
            self.cells.chunks(columns).map(|row| side(row, |cell| cell.height)).collect();
        let gaps = |count: usize| (count + 1) * Self::GAP;
        let mut sheet = Image::filled(
            columns * width + gaps(columns),
            heights.iter().sum::<usize>() + gaps(heights.len()),
            &[245u8; 3],
        );
        let mut top = Self::GAP;
        for (row, height) in self.cells.chunks(columns).zip(heights) {
            for (column, cell) in row.iter().enumerate() {
                sheet.paste(cell, (Self::GAP + column * (width + Self::GAP)) as isize, top as isize);
            }
            top += height + Self::GAP;
        }
        sheet
    }
}
