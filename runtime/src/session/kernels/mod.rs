//! Drives one program for each projection, as runtimes below Core ML do: everything between them is computed here.
//!
//! A call carries as many tokens as there are columns. Columns behind the tokens are zeros, and what they give is dropped.

mod glue;
mod sizes;

use std::collections::BTreeMap;
use std::path::Path;

use anec_mil::DataType;
use anec_mil::evaluate::Tensor;
use anec_schemas::contract::kernels::{
    CONTRACT, DOWN_PROJ, EMBEDDINGS, GATE_PROJ, GATE_UP_PROJ, K_PROJ, LM_HEAD, NORMS, O_PROJ, Q_PROJ, QKV_PROJ,
    UP_PROJ, V_PROJ, layer_roles, names,
};
use anec_schemas::contract::{Contract, Instance, Role, Size};
use anec_schemas::{Glue, MetaYaml, Parameters};

use self::glue::Cache;
use self::sizes::Sizes;
use super::stateless::Stateless;
use super::{Capabilities, Driver, Gives, Observer, Output, Rewinds, Session, SessionError, inputs};
use crate::backend::{Engine, Tensors};
use crate::part::{ModelPart, PartError, PartLabel, stem};

/// The driver.
#[derive(Debug)]
pub(super) struct Kernels;

/// Whether a directory has projections that share an input as one program.
fn is_fused(parameters: &Parameters) -> bool {
    parameters.files.contains_key(QKV_PROJ.0)
}

impl Driver for Kernels {
    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }

    /// Those of the roles that the conversion has, layer by layer.
    fn parts(&self, root: &Path, meta: &MetaYaml) -> Result<Vec<ModelPart>, PartError> {
        let parameters = &meta.model_info.parameters;
        let listed = |role: Role| parameters.files.get(role.0).map_or(&[][..], Vec::as_slice);
        let find =
            |label: PartLabel, name: &String| ModelPart::find(root, label, stem("files", Some(name))?.to_owned());
        let mut parts = Vec::new();
        for role in [EMBEDDINGS, NORMS] {
            let [name] = listed(role) else { return Err(PartError::NotListed { role, found: listed(role).len() }) };
            parts.push(find(PartLabel::only(role), name)?);
        }
        let roles = layer_roles(is_fused(parameters));
        let layers = roles.first().map_or(0, |role| listed(*role).len());
        if let Some(role) = roles.iter().find(|role| layers == 0 || listed(**role).len() != layers) {
            return Err(PartError::NotListed { role: *role, found: listed(*role).len() });
        }
        for (number, layer) in (1..).zip(0..layers) {
            for role in roles {
                let name = listed(*role).get(layer).expect("every role has as many as there are layers");
                parts.push(find(PartLabel::numbered(*role, number), name)?);
            }
        }
        if listed(LM_HEAD).is_empty() {
            return Err(PartError::NotListed { role: LM_HEAD, found: 0 });
        }
        for (number, name) in (1..).zip(listed(LM_HEAD)) {
            parts.push(find(PartLabel::numbered(LM_HEAD, number), name)?);
        }
        Ok(parts)
    }

    fn open(
        &self,
        meta: &MetaYaml,
        parts: &[ModelPart],
        engine: &dyn Engine,
    ) -> Result<Box<dyn Session>, SessionError> {
        Ok(Box::new(KernelsSession::open(&meta.model_info.parameters, parts, engine)?))
    }
}

/// A program of one projection, or of a look-up.
struct Kernel(Stateless);

/// The kernels of a layer, its norms and what it keeps.
struct Layer {
    kernels: BTreeMap<Role, Kernel>,
    norms: Vec<Vec<f32>>,
    /// Of queries and of keys, where there are any.
    head_norms: Option<[Vec<f32>; 2]>,
    cache: Cache,
}

/// Cosines and sines of a rotary embedding, a row for each token.
type Rotation = [Vec<f32>; 2];

struct KernelsSession {
    sizes: Sizes,
    capabilities: Capabilities,
    embeddings: Kernel,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    head: Vec<Kernel>,
}

impl Kernel {
    fn open(part: &ModelPart, engine: &dyn Engine, instance: &Instance) -> Result<Self, SessionError> {
        Ok(Self(Stateless::open(&CONTRACT, (part, names::MAIN), engine, instance)?))
    }

    /// Multiplies rows, one a token; each output has a row for each of them.
    fn project(
        &mut self,
        rows: &[f32],
        (tokens, columns): (usize, usize),
        outputs: &[&str],
        observe: &mut Observer<'_>,
    ) -> Result<Vec<Vec<f32>>, SessionError> {
        let channels = rows.len().checked_div(tokens).unwrap_or(0);
        let mut x = vec![0.0; channels * columns];
        for (token, row) in rows.chunks_exact(channels.max(1)).enumerate() {
            for (column, value) in x.iter_mut().skip(token).step_by(columns).zip(row) {
                *column = *value;
            }
        }
        let x = Tensor::floats(DataType::Float16, &[1, channels, 1, columns], x)?;
        let mut found = self.0.shown(&Tensors::from([(names::X.to_owned(), x)]), observe)?;
        let mut results = Vec::with_capacity(outputs.len());
        for name in outputs {
            let tensor = self.0.take(&mut found, name)?;
            let floats = tensor.as_floats()?;
            let mut rows = Vec::with_capacity(floats.len() / columns.max(1) * tokens);
            for token in 0..tokens {
                rows.extend(floats.iter().skip(token).step_by(columns.max(1)));
            }
            results.push(rows);
        }
        Ok(results)
    }
}

impl KernelsSession {
    fn open(parameters: &Parameters, parts: &[ModelPart], engine: &dyn Engine) -> Result<Self, SessionError> {
        let sizes = Sizes::of(parameters, is_fused(parameters))?;
        let instance = sizes.instance(parameters);
        let mut layers: Vec<BTreeMap<Role, Kernel>> = sizes.layers.iter().map(|_| BTreeMap::new()).collect();
        let (mut embeddings, mut norms, mut head) = (None, None, Vec::new());
        for part in parts {
            let number = part.label.number.and_then(|number| usize::try_from(number).ok()).unwrap_or(1);
            let index = number.saturating_sub(1);
            let of_head = parameters.lm_head_chunk_sizes.get(index).filter(|_| part.label.role == LM_HEAD);
            let instance = match of_head {
                Some(rows) => instance.clone().with_size(Size::LM_HEAD_CHUNK_SIZES, *rows),
                None => instance.clone(),
            };
            let kernel = Kernel::open(part, engine, &instance)?;
            match part.label.role {
                EMBEDDINGS => embeddings = Some(kernel),
                NORMS => norms = Some(kernel),
                LM_HEAD => head.push(kernel),
                role => {
                    let kept = layers.get_mut(index).ok_or_else(|| SessionError::Meta {
                        key: "layer_windows",
                        expected: "a number for each layer".to_owned(),
                        found: format!("{} numbers", sizes.layers.len()),
                    })?;
                    kept.insert(role, kernel);
                }
            }
        }
        let missing = |role: Role| SessionError::Meta {
            key: "files",
            expected: format!("a model of the role `{role}` for each layer"),
            found: "none".to_owned(),
        };
        if let Some(role) = layer_roles(sizes.fused).iter().find(|role| layers.iter().any(|of| !of.contains_key(*role)))
        {
            return Err(missing(*role));
        }
        let mut norms = Norms { kernel: norms.ok_or_else(|| missing(NORMS))?, has_heads: sizes.glue.head_norms };
        let each = sizes.glue.norms.len();
        let mut loaded = Vec::with_capacity(layers.len());
        for (index, kernels) in layers.into_iter().enumerate() {
            let of_layer = (index * each..(index + 1) * each).map(|number| Ok(norms.get(number)?.0));
            let of_layer = of_layer.collect::<Result<Vec<_>, SessionError>>()?;
            let [query, key] = [norms.get(2 * index)?.1, norms.get(2 * index + 1)?.1];
            let head_norms = query.zip(key).map(|(query, key)| [query, key]);
            loaded.push(Layer { kernels, norms: of_layer, head_norms, cache: Cache::default() });
        }
        let norm = norms.get(loaded.len() * each)?.0;
        let capabilities = Capabilities {
            context_length: sizes.context_length,
            vocab_size: parameters.vocab_size.and_then(|size| usize::try_from(size).ok()),
            batch_size: Some(sizes.columns),
            step_size: sizes.columns,
            verify_size: sizes.columns,
            gives: Gives::Logits,
            rewinds: Rewinds::Anywhere,
        };
        let embeddings = embeddings.ok_or_else(|| missing(EMBEDDINGS))?;
        Ok(Self { sizes, capabilities, embeddings, layers: loaded, norm, head })
    }

    /// Takes tokens through all layers, and gives their normalized hidden states, a row each.
    fn run(&mut self, tokens: &[u32], position: usize, observe: &mut Observer<'_>) -> Result<Vec<f32>, SessionError> {
        let Sizes { context_length, columns, .. } = self.sizes;
        let last = position.saturating_add(tokens.len().saturating_sub(1));
        if last >= context_length {
            return Err(SessionError::ContextFull { position: last, context_length });
        }
        if tokens.is_empty() || tokens.len() > columns {
            return Err(SessionError::StepSize { most: columns, found: tokens.len() });
        }
        let (mut hidden, rotations) = self.look_up(tokens, position, observe)?;
        for index in 0..self.layers.len() {
            self.attention(index, &mut hidden, (tokens.len(), position), &rotations, observe)?;
            self.mlp(index, &mut hidden, tokens.len(), observe)?;
        }
        glue::normalize(&mut hidden, &self.norm, self.sizes.glue.stream_norm_eps);
        Ok(hidden)
    }

    /// Hidden states of tokens, and cosines and sines of each rotary embedding, a row for each token.
    fn look_up(
        &mut self,
        tokens: &[u32],
        position: usize,
        observe: &mut Observer<'_>,
    ) -> Result<(Vec<f32>, Vec<Rotation>), SessionError> {
        let Sizes { context_length, columns, hidden, .. } = self.sizes;
        let mut ids = tokens.to_vec();
        ids.resize(columns, 0);
        // Columns without a token need a position that the tables have.
        let positions = (position..position + columns).map(|position| position.min(context_length - 1));
        let positions = positions.map(|position| i32::try_from(position).unwrap_or(i32::MAX)).collect();
        let given = Tensors::from([
            (names::INPUT_IDS.to_owned(), inputs::token_ids(&ids, self.capabilities.vocab_size)?),
            (names::POSITION_IDS.to_owned(), Tensor::integers(DataType::Int32, &[columns], positions)?),
        ]);
        let mut outputs = self.embeddings.0.shown(&given, observe)?;
        let mut rows = self.embeddings.0.take(&mut outputs, names::HIDDEN_STATES)?.as_floats()?.into_owned();
        rows.truncate(tokens.len() * hidden);
        let mut rotations = Vec::with_capacity(self.sizes.rotary_dims.len());
        for number in 1..=self.sizes.rotary_dims.len() {
            let mut table = |name: &str| -> Result<Vec<f32>, SessionError> {
                let tensor = self.embeddings.0.take(&mut outputs, &format!("{name}{number}"))?;
                Ok(tensor.as_floats()?.into_owned())
            };
            rotations.push([table(names::COS)?, table(names::SIN)?]);
        }
        Ok((rows, rotations))
    }

    fn attention(
        &mut self,
        index: usize,
        hidden: &mut [f32],
        (tokens, position): (usize, usize),
        rotations: &[Rotation],
        observe: &mut Observer<'_>,
    ) -> Result<(), SessionError> {
        let sizes = &self.sizes;
        let (layer, kind) = layer_of(&mut self.layers, sizes, index);
        let x = layer.normalized(hidden, Glue::BEFORE_ATTENTION, sizes.glue.stream_norm_eps, sizes);
        let shape = (tokens, sizes.columns);
        let [mut query, mut key, value] = if sizes.fused {
            let outputs = [names::Q, names::K, names::V];
            let found = layer.kernel(QKV_PROJ).project(&x, shape, &outputs, observe)?;
            found.try_into().expect("as many results as names were asked for")
        } else {
            let mut project = |role| layer.one(role, &x, shape, observe);
            [project(Q_PROJ)?, project(K_PROJ)?, project(V_PROJ)?]
        };
        if let Some([of_queries, of_keys]) = &layer.head_norms {
            glue::normalize(&mut query, of_queries, sizes.glue.rms_norm_eps);
            glue::normalize(&mut key, of_keys, sizes.glue.rms_norm_eps);
        }
        if let Some(([cos, sin], dim)) =
            kind.rotation.and_then(|rotation| rotations.get(rotation).zip(sizes.rotary_dims.get(rotation)))
        {
            let tables = || cos.chunks_exact(*dim).zip(sin.chunks_exact(*dim));
            for (rows, width) in [(&mut query, sizes.q_size()), (&mut key, sizes.kv_size())] {
                for (row, (cos, sin)) in rows.chunks_exact_mut(width).zip(tables()) {
                    glue::rotate(row, sizes.head_dim, cos, sin);
                }
            }
        }
        layer.cache.write(position, sizes.kv_size(), &key, &value);
        let mut mixed = Vec::with_capacity(query.len());
        for (position, query) in (position..).zip(query.chunks_exact(sizes.q_size())) {
            mixed.extend(layer.cache.attend(query, position, kind, sizes));
        }
        let branch = layer.one(O_PROJ, &mixed, shape, observe)?;
        let branch = layer.normalized(&branch, Glue::AFTER_ATTENTION, sizes.glue.rms_norm_eps, sizes);
        glue::add(hidden, &branch, sizes.glue.residual_multiplier);
        Ok(())
    }

    fn mlp(
        &mut self,
        index: usize,
        hidden: &mut [f32],
        tokens: usize,
        observe: &mut Observer<'_>,
    ) -> Result<(), SessionError> {
        let sizes = &self.sizes;
        let (layer, _) = layer_of(&mut self.layers, sizes, index);
        let x = layer.normalized(hidden, Glue::BEFORE_MLP, sizes.glue.stream_norm_eps, sizes);
        let shape = (tokens, sizes.columns);
        let [mut gate, up] = if sizes.fused {
            let found = layer.kernel(GATE_UP_PROJ).project(&x, shape, &[names::GATE, names::UP], observe)?;
            found.try_into().expect("as many results as names were asked for")
        } else {
            [layer.one(GATE_PROJ, &x, shape, observe)?, layer.one(UP_PROJ, &x, shape, observe)?]
        };
        glue::activate(&mut gate, &up, sizes.activation);
        let branch = layer.one(DOWN_PROJ, &gate, shape, observe)?;
        let branch = layer.normalized(&branch, Glue::AFTER_MLP, sizes.glue.rms_norm_eps, sizes);
        glue::add(hidden, &branch, sizes.glue.residual_multiplier);
        Ok(())
    }

    /// Logits behind each of these hidden states.
    fn logits(
        &mut self,
        hidden: &[f32],
        tokens: usize,
        observe: &mut Observer<'_>,
    ) -> Result<Vec<Vec<f32>>, SessionError> {
        let glue = &self.sizes.glue;
        let mut logits = vec![Vec::new(); tokens];
        for part in &mut self.head {
            let found = part.project(hidden, (tokens, self.sizes.columns), &[names::Y], observe)?;
            let rows = found.into_iter().next().unwrap_or_default();
            let width = rows.len().checked_div(tokens).unwrap_or(0).max(1);
            for (logits, row) in logits.iter_mut().zip(rows.chunks_exact(width)) {
                logits.extend_from_slice(row);
            }
        }
        for logit in logits.iter_mut().flatten() {
            #[expect(clippy::cast_possible_truncation, reason = "the factor was a single in the config")]
            let scaled = *logit * glue.logit_scale as f32;
            *logit = glue::softcap(scaled, glue.logit_softcap);
        }
        Ok(logits)
    }
}

fn layer_of<'a>(layers: &'a mut [Layer], sizes: &Sizes, index: usize) -> (&'a mut Layer, sizes::LayerKind) {
    let kind = sizes.layers.get(index).copied().expect("every layer is of a kind");
    (layers.get_mut(index).expect("layers are counted"), kind)
}

impl Layer {
    fn kernel(&mut self, role: Role) -> &mut Kernel {
        self.kernels.get_mut(&role).expect("a layer was opened with every role")
    }

    /// Multiplies rows by the only projection of a kernel.
    fn one(
        &mut self,
        role: Role,
        rows: &[f32],
        shape: (usize, usize),
        observe: &mut Observer<'_>,
    ) -> Result<Vec<f32>, SessionError> {
        let found = self.kernel(role).project(rows, shape, &[names::Y], observe)?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    /// Rows after a norm, where the layer has it.
    fn normalized(&self, rows: &[f32], place: &str, epsilon: f64, sizes: &Sizes) -> Vec<f32> {
        let mut rows = rows.to_vec();
        if let Some(weight) = sizes.norm(place).and_then(|index| self.norms.get(index)) {
            glue::normalize(&mut rows, weight, epsilon);
        }
        rows
    }
}

/// The weights of norms, looked up once.
struct Norms {
    kernel: Kernel,
    has_heads: bool,
}

impl Norms {
    /// The norm of this number over the channels between layers, and over those of a head.
    fn get(&mut self, number: usize) -> Result<(Vec<f32>, Option<Vec<f32>>), SessionError> {
        let index = Tensor::integers(DataType::Int32, &[1], vec![i32::try_from(number).unwrap_or(i32::MAX)])?;
        let given = Tensors::from([(names::INDEX.to_owned(), index)]);
        let mut outputs = self.kernel.0.predict(&given)?;
        let norm = self.kernel.0.take(&mut outputs, names::NORM)?.as_floats()?.into_owned();
        if !self.has_heads {
            return Ok((norm, None));
        }
        let of_head = self.kernel.0.take(&mut outputs, names::HEAD_NORM)?;
        Ok((norm, Some(of_head.as_floats()?.into_owned())))
    }
}

impl Session for KernelsSession {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn reset(&mut self) -> Result<(), SessionError> {
        for layer in &mut self.layers {
            layer.cache = Cache::default();
        }
        Ok(())
    }

    fn read_cache(&self) -> Result<Tensors, SessionError> {
        let width = self.sizes.kv_size();
        let mut caches = Tensors::new();
        for (index, layer) in self.layers.iter().enumerate() {
            for (name, rows) in [("keys", &layer.cache.keys), ("values", &layer.cache.values)] {
                let shape = [rows.len() / width.max(1), width];
                caches
                    .insert(format!("layer_{index}_{name}"), Tensor::floats(DataType::Float32, &shape, rows.clone())?);
            }
        }
        Ok(caches)
    }

    fn prefill(&mut self, tokens: &[u32], position: usize) -> Result<(), SessionError> {
        let expected = self.sizes.columns;
        if tokens.len() != expected {
            return Err(SessionError::BatchSize { expected, found: tokens.len() });
        }
        self.run(tokens, position, &mut |_, _| {})?;
        Ok(())
    }

    fn step(&mut self, tokens: &[u32], position: usize, observe: &mut Observer<'_>) -> Result<Output, SessionError> {
        let hidden = self.run(tokens, position, observe)?;
        let last = hidden.len() - self.sizes.hidden.min(hidden.len());
        let logits = self.logits(hidden.get(last..).unwrap_or_default(), 1, observe)?;
        Ok(Output::Logits(logits.into_iter().next().unwrap_or_default()))
    }

    fn verify(&mut self, tokens: &[u32], position: usize) -> Result<Vec<Output>, SessionError> {
        let mut outputs = Vec::with_capacity(tokens.len());
        for (start, tokens) in (position..).step_by(self.sizes.columns).zip(tokens.chunks(self.sizes.columns)) {
            let hidden = self.run(tokens, start, &mut |_, _| {})?;
            let logits = self.logits(&hidden, tokens.len(), &mut |_, _| {})?;
            outputs.extend(logits.into_iter().map(Output::Logits));
        }
        Ok(outputs)
    }
}
