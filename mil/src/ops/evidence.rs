//! Compiled programs that were read, and where they are: what shows how Core ML writes ops.

use super::decl::Evidence;

/// A language model, compiled by ANEMLL's users.
pub(super) const ANEMLL: Evidence = Evidence::Compiled("ANEMLL Qwen3, ctalladen78/Anemll-fork@da94755c");
/// A part of a text-to-speech model, with lengths that are not known.
pub(super) const KOKORO: Evidence = Evidence::Compiled("KokoroNoise, FluidInference/mobius@778f07fd");
/// The parts of a speech recognizer: spectrogram, encoder, decoder, joint decision.
pub(super) const PARAKEET: Evidence =
    Evidence::Compiled("Models/ParakeetEOU/Streaming, FluidInference/FluidAudio@8842adb7");
/// Small programs that pick the best token.
pub(super) const FLUID_AUDIO: Evidence =
    Evidence::Compiled("OptimizationModels/Argmax, FluidInference/FluidAudio@b1661f02");
/// Control flow that a test of another writer loads in Core ML.
pub(super) const MLMODELC_EXPORT: Evidence =
    Evidence::Loaded("mlmodelc-export 0.1.0, tests/runtime_control_flow.swift");
/// Programs of one op each, and small models, which the same writer makes on a watch and loads there.
pub(super) const WATCH: Evidence =
    Evidence::Loaded("operators on Apple Watch, README of rebeckerspecialties/mlmodelc-export@11fb06c8");
/// Programs that a benchmark runs on the Neural Engine.
pub(super) const MADERIX: Evidence = Evidence::Loaded("ane_int8_bench.m, maderix/ANE@d91c9845");
/// Sixteen packages of a voice detector, with what Apple's compiler made of each.
pub(super) const SILERO: Evidence = Evidence::Pair("silero-vad, FluidInference/mobius@6bf78331");
/// Packages of two image detectors, with what Apple's compiler made of each.
pub(super) const YOLO: Evidence = Evidence::Pair("yolo11n, qiuethan/GenAI-Genesis-Project@c4056374");
/// A program of each op, written as text, which the Neural Engine's own compiler took and ran; other ops it refused.
pub(super) const ANEFORGE: Evidence =
    Evidence::Loaded("aneforge/full_mil_vocabulary_sweep.json, sbryngelson/ANEForge@067717ab");
