//! The options that say how weights are stored: one grammar for each kind of weight, and shorthands for it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::calibrate::CalibrationSource;
use crate::error::Hint;
use crate::model::decoder_plan::{DecoderPlan, WeightPath};
use crate::weights::encodings::calibrated;
use crate::weights::encodings::palette::PALETTE_BITS;
use crate::weights::recipe::{Recipe, WeightKind};
use crate::weights::storage::{Defaults, GroupSize, Lut, PaletteMethod, Storage, StorageError};

/// Bits with which a model's most sensitive weights are given more, and how many.
const MIXES: [(u8, u8); 2] = [(4, 6), (6, 8)];

/// Palettes of so many bits lose next to nothing without calibration.
const UNCALIBRATED_BITS: u8 = 8;

/// What older command lines say for an LM head that is stored as the palette options say.
const LM_HEAD_AS_LUT: &str = "lut";

/// How weights are stored.
#[derive(Debug, Args)]
#[command(next_help_heading = "Weights")]
pub struct StorageArguments {
    /// How the decoder layers are stored: `fp16`, `int8` with a scale for each output channel, or
    /// `lutN[:GROUP][+scale][+exact]`, palettes of N bits.
    #[arg(long, value_name = "STORAGE")]
    pub ffn: Option<StorageText>,

    /// How the LM head is stored, as for --ffn.
    #[arg(long, value_name = "STORAGE", value_parser = lm_head)]
    pub lm_head: Option<StorageText>,

    /// How the token embeddings are stored, as for --ffn; they have no channels to scale.
    #[arg(long, value_name = "STORAGE")]
    pub embeddings: Option<StorageText>,

    /// Palette bits of the decoder layers and the LM head: none, 1, 2, 3, 4, 6 or 8. `--lut 4` is short for
    /// `--ffn lut4 --lm-head lut4` [default: none].
    #[arg(long, value_name = "BITS")]
    pub lut: Option<LutBits>,

    /// Palette bits of the decoder layers, where they differ from --lut: short for `--ffn lutN`.
    #[arg(long, value_name = "BITS")]
    pub lut_ffn: Option<LutBits>,

    /// Palette bits of the LM head, where they differ from --lut: short for `--lm-head lutN`.
    #[arg(long, value_name = "BITS")]
    pub lut_lm_head: Option<LutBits>,

    /// Palette bits of the token embeddings: short for `--embeddings lutN` [default: none].
    #[arg(long, value_name = "BITS")]
    pub lut_embeddings: Option<LutBits>,

    /// Output channels that share a palette: a number, or `tensor` [default: 8].
    #[arg(long, value_name = "N|tensor")]
    pub group_size: Option<GroupSize>,

    /// How palettes are found: `exact` takes the best there is, and a multiple of the time.
    #[arg(long, value_enum, default_value_t = PaletteMethod::Fast)]
    pub palette: PaletteMethod,

    /// Give each output channel of a palettized projection a scale of its own, applied to its result.
    #[arg(long)]
    pub channel_scale: bool,

    /// What palettes are calibrated with: `builtin` (text that ships, and answers of the checkpoint to prompts that ship), a
    /// text FILE, chats in a FILE.jsonl, or `none` for palettes that know only the weights. Calibration takes minutes, and
    /// palettes of 4 bits without it lose several times more [default: builtin below 8 bits].
    #[arg(long, value_name = "builtin|FILE|none")]
    pub calibration: Option<CalibrationSource>,

    /// Store all layers and the head with the bits that --lut says. Else calibrated palettes of 4 bits give the keys, the
    /// values and the head 6 bits, and those of 6 bits give them 8: 0.1 bits a weight more in the layers, and a quarter less
    /// lost.
    #[arg(long)]
    pub uniform: bool,

    /// JSON file that says how the layers, the LM head, the embeddings and single tensors are stored, such as the
    /// recipe.json of an earlier conversion.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ffn", "lm_head", "embeddings", "lut", "lut_ffn", "lut_lm_head",
          "lut_embeddings", "group_size", "palette", "channel_scale", "int8_embeddings", "uniform"])]
    pub recipe: Option<PathBuf>,

    /// Store the token embeddings as int8 with a scale for each token: short for `--embeddings int8`.
    #[arg(long, conflicts_with = "lut_embeddings")]
    pub int8_embeddings: bool,
}

/// A storage as it was given; what it leaves open depends on other options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageText(String);

impl FromStr for StorageText {
    type Err = StorageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<Storage>().map(|_| Self(text.to_owned()))
    }
}

fn lm_head(text: &str) -> Result<StorageText, StorageError> {
    if text == LM_HEAD_AS_LUT { Ok(StorageText(text.to_owned())) } else { text.parse() }
}

/// Bits of a palette's indices, or none for plain fp16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LutBits(Option<u8>);

impl FromStr for LutBits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self(None));
        }
        match text.parse::<u8>() {
            Ok(bits) if PALETTE_BITS.contains(&bits) => Ok(Self(Some(bits))),
            _ => Err("expected none, 1, 2, 3, 4, 6 or 8".to_owned()),
        }
    }
}

impl fmt::Display for LutBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bits) => write!(f, "{bits}"),
            None => f.write_str("none"),
        }
    }
}

/// Options that cannot all hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StorageOptionsError {
    /// Two say different things.
    #[error("`{first}` and `{second}` contradict each other")]
    Contradiction {
        /// An option with its value.
        first: String,
        /// Another.
        second: String,
    },
    /// Palettes of a kind that calibration does not make.
    #[error("Cannot calibrate palettes `{storage}`, expected groups of output channels and no scale")]
    NotCalibrated {
        /// The palettes.
        storage: Storage,
    },
}

impl Hint for StorageOptionsError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Contradiction { .. } => "give one of them",
            Self::NotCalibrated { .. } => {
                "leave out `--group-size tensor` and `--channel-scale`, or use `--calibration none`, which loses several \
                 times more"
            }
        };
        Some(hint.to_owned())
    }
}

/// What an option says about one kind of weight.
struct Claim {
    /// The option with its value.
    option: String,
    /// The storage in the grammar.
    text: String,
}

impl Claim {
    fn text(name: &str, given: Option<&StorageText>) -> Option<Self> {
        let StorageText(text) = given?;
        Some(Self { option: format!("{name} {text}"), text: text.clone() })
    }

    fn bits(name: &str, given: Option<LutBits>) -> Option<Self> {
        let bits = given?;
        let text = bits.0.map_or_else(|| Storage::default().to_string(), |bits| format!("lut{bits}"));
        Some(Self { option: format!("{name} {bits}"), text })
    }
}

impl StorageArguments {
    /// How every weight is stored.
    ///
    /// # Errors
    /// Options that contradict each other.
    pub(super) fn recipe(&self) -> Result<Recipe, StorageOptionsError> {
        let projections =
            Defaults { group_size: self.group_size, method: self.palette, channel_scale: self.channel_scale };
        // A table of tokens is gathered from: it has no channels to scale.
        let tables = Defaults { channel_scale: false, ..projections };
        let lut = || Claim::bits("--lut", self.lut);
        let ffn = [Claim::text("--ffn", self.ffn.as_ref()), Claim::bits("--lut-ffn", self.lut_ffn)];
        let lm_head = [Claim::text("--lm-head", self.own_lm_head()), Claim::bits("--lut-lm-head", self.lut_lm_head)];
        let int8 = || Claim { option: "--int8-embeddings".to_owned(), text: "int8".to_owned() };
        let embeddings = [
            Claim::text("--embeddings", self.embeddings.as_ref()),
            Claim::bits("--lut-embeddings", self.lut_embeddings),
            self.int8_embeddings.then(int8),
        ];
        let [ffn, lm_head] = [agreed(ffn, lut(), &projections)?, agreed(lm_head, lut(), &projections)?];
        let embeddings = agreed(embeddings, None, &tables)?;
        Ok(Recipe::new(self.calibrated(ffn)?, self.calibrated(lm_head)?, embeddings))
    }

    /// Gives what suffers most from few bits more of them: keys, values and the head under `--lut 4` or `--lut 6` with
    /// calibration.
    pub(super) fn refine(&self, recipe: Recipe, plan: &DecoderPlan) -> Recipe {
        let Some(Lut { channels: Some(channels), .. }) = recipe.ffn.lut() else { return recipe };
        let Some(more_bits) = self.more_bits(&recipe).filter(|_| !self.uniform) else { return recipe };
        let text = format!("lut{more_bits}:{channels}{}", calibrated::SUFFIX);
        let more: Storage = text.parse().expect("calibrated palettes of other bits");
        let keeps_head = self.lut_lm_head.is_some() || self.own_lm_head().is_some();
        let mut recipe = recipe;
        if !keeps_head {
            recipe.lm_head = more.clone();
        }
        for layer in 0..plan.num_hidden_layers {
            for module in ["self_attn.k_proj", "self_attn.v_proj"] {
                let source = plan.source(&WeightPath::weight(layer, module));
                // Rows of one tensor are stored alike.
                if source.fused.is_none() {
                    recipe = recipe.with_tensor(WeightKind::Layer, &source.tensor, more.clone());
                }
            }
        }
        recipe
    }

    /// How many bits some tensors get, where that is more than `--lut` says and nobody minds.
    fn more_bits(&self, recipe: &Recipe) -> Option<u8> {
        let bits = recipe.ffn.quantized_bits().filter(|_| recipe.ffn.is_calibrated())?;
        let says_so = self.lut == Some(LutBits(Some(bits))) && self.ffn.is_none() && self.lut_ffn.is_none();
        let (_, more) = MIXES.into_iter().find(|(few, _)| *few == bits)?;
        (says_so && self.recipe.is_none()).then_some(more)
    }

    /// Palettes with calibration, unless they have so many bits that it hardly matters, or it is not wanted; all else as it
    /// is.
    fn calibrated(&self, storage: Storage) -> Result<Storage, StorageOptionsError> {
        let Some(Lut { bits, .. }) = storage.lut().filter(|_| !storage.is_calibrated()) else { return Ok(storage) };
        let is_wanted = self.calibration.as_ref().map_or(bits < UNCALIBRATED_BITS, calibrates);
        if !is_wanted {
            return Ok(storage);
        }
        let text = format!("{storage}{}", calibrated::SUFFIX);
        text.parse().map_err(|_| StorageOptionsError::NotCalibrated { storage })
    }

    /// What calibrated weights are calibrated with; none where no weight is.
    ///
    /// # Errors
    /// Weights are to be calibrated, and nothing is.
    pub(super) fn calibration(&self, recipe: &Recipe) -> Result<Option<CalibrationSource>, StorageOptionsError> {
        let Some(storage) = calibrated_storages(recipe).next() else { return Ok(None) };
        match &self.calibration {
            Some(CalibrationSource::None) => Err(StorageOptionsError::Contradiction {
                first: "--calibration none".to_owned(),
                second: storage.to_string(),
            }),
            source => Ok(Some(source.clone().unwrap_or(CalibrationSource::Builtin))),
        }
    }

    /// Whether the best palettes of the weights alone are asked for.
    fn is_exact(&self) -> bool {
        let texts = [&self.ffn, &self.lm_head, &self.embeddings];
        let says_so = |StorageText(text): &StorageText| text.contains("+exact");
        self.palette == PaletteMethod::Exact || texts.into_iter().flatten().any(says_so)
    }

    /// Options that were given and do nothing, and why.
    pub(super) fn without_effect(&self, recipe: &Recipe) -> Vec<(&'static str, &'static str)> {
        let projections_have = recipe.ffn.lut().or(recipe.lm_head.lut()).is_some();
        let any_has = projections_have || recipe.embeddings.lut().is_some();
        let no_palettes = "nothing is palettized without `--lut`";
        let has_own = |text: Option<&StorageText>, bits: Option<LutBits>| text.is_some() || bits.is_some();
        let all_have_own = has_own(self.ffn.as_ref(), self.lut_ffn) && has_own(self.own_lm_head(), self.lut_lm_head);
        let palettes = [&recipe.ffn, &recipe.lm_head, &recipe.embeddings].map(|storage| (storage.lut(), storage));
        let all_are_calibrated =
            any_has && palettes.iter().all(|(lut, storage)| lut.is_none() || storage.is_calibrated());
        let asks = self.calibration.as_ref().is_some_and(calibrates);
        [
            (
                "--lut",
                self.lut.is_some() && all_have_own,
                "the decoder layers and the LM head have options of their own",
            ),
            ("--group-size", self.group_size.is_some() && !any_has, no_palettes),
            ("--palette", self.palette != PaletteMethod::Fast && !any_has, no_palettes),
            (
                "--palette",
                self.is_exact() && all_are_calibrated,
                "calibrated palettes are not the best of the weights alone",
            ),
            ("--channel-scale", self.channel_scale && !projections_have, no_palettes),
            ("--calibration", asks && calibrated_storages(recipe).next().is_none(), "no layer or head is palettized"),
            (
                "--uniform",
                self.uniform && self.more_bits(recipe).is_none(),
                "only calibrated palettes of `--lut 4` and `--lut 6` are mixed with more bits",
            ),
        ]
        .into_iter()
        .filter_map(|(option, has_none, reason)| has_none.then_some((option, reason)))
        .collect()
    }

    fn own_lm_head(&self) -> Option<&StorageText> {
        self.lm_head.as_ref().filter(|StorageText(text)| text != LM_HEAD_AS_LUT)
    }
}

fn calibrates(source: &CalibrationSource) -> bool {
    *source != CalibrationSource::None
}

/// Every storage of layers and head that is calibrated.
fn calibrated_storages(recipe: &Recipe) -> impl Iterator<Item = &Storage> {
    let kinds = [WeightKind::Layer, WeightKind::LmHead];
    kinds.into_iter().flat_map(|kind| recipe.all_of(kind)).filter(|storage| storage.is_calibrated())
}

/// The storage that all claims agree on, or the `general` one where there are none, or fp16.
fn agreed(
    claims: impl IntoIterator<Item = Option<Claim>>,
    general: Option<Claim>,
    defaults: &Defaults,
) -> Result<Storage, StorageOptionsError> {
    let mut agreed: Option<(String, Storage)> = None;
    for Claim { option, text } in claims.into_iter().flatten() {
        let storage = storage(&option, &text, defaults)?;
        match &agreed {
            None => agreed = Some((option, storage)),
            Some((_, known)) if *known == storage => {}
            Some((first, _)) => {
                return Err(StorageOptionsError::Contradiction { first: first.clone(), second: option });
            }
        }
    }
    match (agreed, general) {
        (Some((_, storage)), _) => Ok(storage),
        (None, Some(Claim { option, text })) => storage(&option, &text, defaults),
        (None, None) => Ok(Storage::default()),
    }
}

fn storage(option: &str, text: &str, defaults: &Defaults) -> Result<Storage, StorageOptionsError> {
    Storage::parse(text, defaults).map_err(|error| match error {
        StorageError::Contradiction { option: second } => {
            StorageOptionsError::Contradiction { first: option.to_owned(), second }
        }
        StorageError::Unknown | StorageError::Parameter { .. } => {
            unreachable!("the text of an option was read when the command line was")
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        storage: StorageArguments,
    }

    /// Palettes that know only the weights.
    fn recipe(line: &str) -> Result<[String; 3], String> {
        recipe_as_given(&format!("--calibration none {line}"))
    }

    fn recipe_as_given(line: &str) -> Result<[String; 3], String> {
        let line = Line::try_parse_from(std::iter::once("anec").chain(line.split_whitespace()));
        let recipe = line.map_err(|error| error.to_string())?.storage.recipe().map_err(|error| error.to_string())?;
        Ok([recipe.ffn, recipe.lm_head, recipe.embeddings].map(|storage| storage.to_string()))
    }

    #[test]
    fn shorthands_mean_what_the_grammar_says() {
        for (short, long) in [
            ("", "--ffn fp16 --lm-head fp16 --embeddings fp16"),
            ("--lut 4", "--ffn lut4:8 --lm-head lut4:8"),
            ("--lut 8", "--ffn lut8:8 --lm-head lut8:8"),
            ("--lut 4 --lut-lm-head 6", "--ffn lut4 --lm-head lut6"),
            ("--lut 4 --lut-ffn none", "--lm-head lut4"),
            ("--lut 6 --lm-head int8 --int8-embeddings", "--ffn lut6 --lm-head int8 --embeddings int8"),
            ("--lut 6 --lm-head lut", "--ffn lut6 --lm-head lut6"),
            ("--lut 4 --group-size tensor --channel-scale", "--ffn lut4:tensor+scale --lm-head lut4:tensor+scale"),
            ("--lut-embeddings 8 --channel-scale --group-size 4", "--embeddings lut8:4"),
            ("--lut-ffn 2 --palette exact", "--ffn lut2+exact"),
            ("--ffn lut4 --group-size 16", "--ffn lut4:16"),
        ] {
            assert_eq!(recipe(short), recipe(long), "{short}");
            assert!(recipe(short).is_ok(), "{short}");
        }
    }

    #[test]
    fn palettes_below_eight_bits_are_calibrated_unless_told_otherwise() {
        for (line, expected) in [
            ("--lut 4", ["lut4:8+calibrated", "lut4:8+calibrated", "fp16"]),
            ("--lut 6 --group-size 16", ["lut6:16+calibrated", "lut6:16+calibrated", "fp16"]),
            ("--lut 3 --lut-embeddings 4", ["lut3:8+calibrated", "lut3:8+calibrated", "lut4:8"]),
            ("--ffn lut4 --lm-head int8", ["lut4:8+calibrated", "int8", "fp16"]),
            ("--lut 8 --lut-ffn 4", ["lut4:8+calibrated", "lut8:8", "fp16"]),
            ("--lut 8 --calibration builtin", ["lut8:8+calibrated", "lut8:8+calibrated", "fp16"]),
            ("--lut 4 --calibration none", ["lut4:8", "lut4:8", "fp16"]),
        ] {
            assert_eq!(
                recipe_as_given(line).as_ref().map(|found| found.each_ref().map(String::as_str)),
                Ok(expected),
                "{line}"
            );
        }
        for line in ["--lut 4 --group-size tensor", "--lut 6 --channel-scale", "--lut-ffn 4 --ffn lut4:tensor"] {
            let error = recipe_as_given(line).expect_err(line);
            assert!(error.contains("Cannot calibrate") || error.contains("contradict"), "{line}: {error}");
        }
    }

    #[test]
    fn contradictions_name_both_options() {
        for (line, options) in [
            ("--ffn int8 --lut-ffn 4", ["--ffn int8", "--lut-ffn 4"]),
            ("--lm-head int8 --lut-lm-head 4", ["--lm-head int8", "--lut-lm-head 4"]),
            ("--embeddings fp16 --int8-embeddings", ["--embeddings fp16", "--int8-embeddings"]),
            ("--embeddings int8 --lut-embeddings 8", ["--embeddings int8", "--lut-embeddings 8"]),
            ("--ffn lut4:8 --group-size 16", ["--ffn lut4:8", "--group-size 16"]),
            ("--int8-embeddings --lut-embeddings 8", ["--int8-embeddings", "--lut-embeddings"]),
        ] {
            let error = recipe(line).expect_err(line);
            assert!(options.iter().all(|option| error.contains(option)), "{line}: {error}");
        }
        assert!(recipe("--ffn lut4 --lut-ffn 4").is_ok(), "saying it twice is no contradiction");
    }

    #[test]
    fn what_is_no_storage_is_refused_with_the_grammar() {
        for wrong in ["--ffn fp8", "--ffn lut", "--embeddings lut", "--lm-head lut5", "--lut 5"] {
            let error = recipe(wrong).expect_err(wrong);
            assert!(error.contains("expected"), "{wrong}: {error}");
        }
    }
}
