//! What became of every parameter of the network and of every array of the file.

use std::collections::BTreeMap;
use std::fmt;

/// What was done to numbers so that they mean here what they meant there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Adaptation {
    /// The convolution's bias is in the batch norm behind it.
    Bias,
    /// γ makes up for another ε.
    Epsilon,
    /// The layer does not exist there and does nothing here.
    Identity,
    /// Channel order, scale and mean of the input are in the first layer.
    Input,
    /// The kernels of the colours are added for one gray channel.
    Gray,
}

impl fmt::Display for Adaptation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bias => "the bias of the convolution is worked into its batch norm",
            Self::Epsilon => "gamma makes up for another epsilon",
            Self::Identity => "the layer does not exist there, and passes its input through",
            Self::Input => "channel order, scale and mean of the input are worked into the first layer",
            Self::Gray => "the kernels of the three colours are added for one gray channel",
        })
    }
}

/// What was taken from a file of weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadReport {
    /// What the file is.
    pub source: String,
    /// Parameters copied as they are, their axes put in our order.
    pub loaded: Vec<String>,
    /// Parameters that were changed on the way, by what was done.
    pub adapted: BTreeMap<Adaptation, Vec<String>>,
    /// Parameters that the file does not fill, with the reason; they start random.
    pub missing: Vec<(String, String)>,
    /// Arrays of the file that the network has no place for.
    pub unused: Vec<String>,
    /// In what the network differs from the one the weights were trained in.
    pub notes: Vec<String>,
    /// Share of the backbone's convolution weights that the file fills.
    pub backbone_share: f64,
}

impl LoadReport {
    /// Parameters that come from the file.
    pub fn count(&self) -> usize {
        let adapted: std::collections::BTreeSet<&String> = self.adapted.values().flatten().collect();
        self.loaded.len() + adapted.len()
    }
}

/// `{:#}` names every layer, `{}` the first few of each kind.
impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "from {}", self.source)?;
        writeln!(f, "loaded as they are: {}", counted(self.loaded.len(), "parameter"))?;
        for (adaptation, names) in &self.adapted {
            writeln!(f, "adapted: {}: {adaptation}", counted(names.len(), "parameter"))?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, why) in &self.missing {
            reasons.entry(why).or_default().push(name);
        }
        for (why, names) in reasons {
            writeln!(
                f,
                "random: {}: {why}: {}",
                counted(names.len(), "parameter"),
                layers(&names, f.alternate())
            )?;
        }
        if !self.unused.is_empty() {
            let names: Vec<&str> = self.unused.iter().map(String::as_str).collect();
            writeln!(
                f,
                "not used: {} of the file: {}",
                counted(names.len(), "array"),
                layers(&names, f.alternate())
            )?;
        }
        write!(
            f,
            "of the backbone's convolution weights {:.1} % are from the file",
            self.backbone_share * 100.0
        )
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// The layers of parameters, each once: all, or the first few and how many more there are.
fn layers(names: &[&str], all: bool) -> String {
    const FEW: usize = 6;
    let mut layers: Vec<&str> =
        names.iter().map(|name| name.rsplit_once(['/', '.']).map_or(*name, |(layer, _)| layer)).collect();
    layers.dedup();
    if all || layers.len() <= FEW + 1 {
        return layers.join(", ");
    }
    format!("{} and {} more layers", layers[..FEW].join(", "), layers.len() - FEW)
}
