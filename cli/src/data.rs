//! Options of commands that read a data set, and opening it.

use bytesize::ByteSize;
use clap::Args;
use oxidet_graph::preprocess_from_spec;
use oxidet_proto::lint::Checked;
use oxidet_trainer::data::{
    BadImages, CacheBudget, Dataset, DatasetRequest, ImageOptions, ImageStore, Split, Summary,
};

use crate::console;
use crate::exit::Failure;

/// How images are read.
#[derive(Args, Clone, Debug)]
pub struct DataArgs {
    /// Leave out images that cannot be read, and say which; without it the first one stops the command
    #[arg(long)]
    skip_bad_images: bool,
    /// Memory for decoded images, such as 4GiB; more makes training on large data sets faster
    #[arg(long, value_name = "SIZE", default_value_t = Self::default().cache_ram, value_parser = size)]
    cache_ram: ByteSize,
}

fn size(text: &str) -> Result<ByteSize, String> {
    let has_unit = text == "0" || text.ends_with(|c: char| c.is_ascii_alphabetic());
    let size = text.parse::<ByteSize>().ok().filter(|_| has_unit);
    size.ok_or_else(|| "a size with its unit is needed, such as 800MB or 4GiB; 0 keeps nothing".into())
}

impl Default for DataArgs {
    fn default() -> Self {
        Self { skip_bad_images: false, cache_ram: ByteSize::b(ImageOptions::default().cache_bytes as u64) }
    }
}

impl DataArgs {
    pub fn image_options(&self) -> ImageOptions {
        ImageOptions {
            bad_images: if self.skip_bad_images { BadImages::Skip } else { BadImages::Stop },
            cache_bytes: usize::try_from(self.cache_ram.as_u64()).unwrap_or(usize::MAX),
        }
    }

    /// The validation data of a spec, and its images.
    pub fn open_validation(&self, spec: &Checked) -> Result<(Dataset, ImageStore), Failure> {
        let options = self.image_options();
        let request = DatasetRequest::new(spec, options.bad_images);
        let dataset = Dataset::open(&request, Split::Validation)?;
        warn_of_skipped(&dataset.summary);
        let depth = preprocess_from_spec(spec.augmentation()).depth;
        let store = ImageStore::new(&dataset, depth, CacheBudget::new(options.cache_bytes));
        Ok((dataset, store))
    }
}

/// Says which images of a data set are left out.
pub fn warn_of_skipped(summary: &Summary) {
    if !summary.skipped.is_empty() {
        console::warn(&summary.to_string());
    }
}
