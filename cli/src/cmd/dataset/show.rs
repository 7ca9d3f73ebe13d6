//! `oxidet dataset show`

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use oxidet_proto::lint::Verb;
use oxidet_trainer::gallery::{ContactSheet, Gallery};
use oxidet_vision::Image;
use oxidet_vision::image::encode_jpeg;

use crate::console;
use crate::data::DataArgs;
use crate::exit::Failure;
use crate::files;
use crate::progress;
use crate::spec;

/// JPEG quality, 1 to 100.
const QUALITY: u8 = 92;

/// Write pictures of samples as the network sees them, with their boxes
///
/// Training pictures are augmented, the very ones that training reads in that epoch; validation pictures are letterboxed.
#[derive(Args, Debug)]
#[command(
    after_help = "Writes <DIR>/<place>_<image>.jpg, <DIR>/recipes.txt and <DIR>/contact_sheet.jpg.\n\nExamples:\n  \
    oxidet dataset show spec.txt -o samples\n  \
    oxidet dataset show spec.txt -o samples -n 64 --epoch 3\n  \
    oxidet dataset show spec.txt -o samples --split val"
)]
pub struct ShowArgs {
    /// Experiment spec
    spec: PathBuf,
    /// Folder for the pictures
    #[arg(short = 'o', long = "output_dir", value_name = "DIR")]
    output_dir: PathBuf,
    /// How many pictures, from the beginning of the epoch
    #[arg(short = 'n', long, value_name = "N", default_value = "16")]
    number: NonZeroUsize,
    /// Which data
    #[arg(long, value_enum, default_value_t = Which::Train)]
    split: Which,
    /// Epoch of training, counted from 0; each has another order and other augmentations
    #[arg(long, value_name = "N", default_value_t = 0)]
    epoch: u64,
    /// Seed instead of the spec's random_seed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Augmented training data
    Train,
    /// Letterboxed validation data
    Val,
}

pub fn run(args: &ShowArgs) -> Result<(), Failure> {
    if args.split == Which::Val && (args.epoch > 0 || args.seed.is_some()) {
        return Err(Failure::usage(
            "--epoch and --seed are for training data: validation data has no chance in it",
        ));
    }
    let options = args.data.image_options();
    // What training does not do yet changes no picture.
    let read = |verb| spec::read(&args.spec, verb, true);
    let gallery = match args.split {
        Which::Train => {
            let spec = read(Verb::Train)?;
            let seed = args.seed.unwrap_or_else(|| spec.random_seed.into());
            Gallery::training(&spec, args.epoch, seed, &options)?
        }
        Which::Val => Gallery::validation(&read(Verb::Dataset)?, &options)?,
    };
    let number = args.number.get().min(gallery.len());
    if number == 0 {
        return Err(Failure::data(format!("{}: there are no samples to show", args.spec.display())));
    }
    let bar = progress::bar(number as u64, "drawing");
    let (mut sheet, mut recipes) = (ContactSheet::default(), String::new());
    for place in 0..number {
        let exhibit = gallery.exhibit(place)?;
        let file = format!("{}.jpg", exhibit.name);
        write(args, &file, &exhibit.with_recipe())?;
        let _ = writeln!(recipes, "{file}: {}", exhibit.recipe.join("\n  "));
        sheet.add(&exhibit);
        bar.set_position(place as u64 + 1);
    }
    bar.finish_and_clear();
    files::write(&args.output_dir.join("recipes.txt"), recipes.as_bytes())?;
    write(args, "contact_sheet.jpg", &sheet.image())?;
    console::print(&format!("{number} pictures: {}", args.output_dir.join("contact_sheet.jpg").display()));
    Ok(())
}

fn write(args: &ShowArgs, file: &str, image: &Image) -> Result<(), Failure> {
    let path = args.output_dir.join(file);
    let jpeg = encode_jpeg(image, QUALITY)
        .map_err(|error| Failure::usage(format!("{}: {error}; ask for fewer pictures", path.display())))?;
    files::write(&path, &jpeg)
}
