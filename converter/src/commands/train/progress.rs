//! What a training shows of itself in a terminal: a picture of its state, drawn again after every step.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Block, Cell, Chart, Dataset, Gauge, GraphType, Paragraph, Row, Table, Wrap};

use crate::commands::table::metric;
use crate::training::train::{KindTime, StepReport};

/// Lines of the head, and of the table of programs with its frame.
const HEAD_LINES: u16 = 3;
const TIMES_LINES: u16 = 10;

/// Characters of the table of programs with its frame, and of its longest bar.
const TIMES_WIDTH: u16 = 54;
const BAR_WIDTH: u16 = 16;

/// Weight of the past in the smooth curve.
const PAST: f64 = 0.95;

/// A training under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// What is trained, in a few words.
    pub(super) model: String,
    /// The last step that is asked for.
    pub(super) last: u64,
    /// The losses of all steps.
    pub(super) losses: Vec<f64>,
    /// Steps that were taken before this training began.
    pub(super) before: usize,
    /// The last step.
    pub(super) report: Option<StepReport>,
    /// Calls and seconds of each program.
    pub(super) times: Vec<KindTime>,
    /// The last text, after which step it was written, and what it goes on from.
    pub(super) sample: Option<(u64, String, String)>,
    /// Since the beginning.
    pub(super) elapsed: Duration,
    /// Whether it was asked to stop.
    pub(super) is_stopping: bool,
}

impl Progress {
    /// Draws all of it.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let rows = [
            Constraint::Length(HEAD_LINES),
            Constraint::Min(6),
            Constraint::Length(TIMES_LINES),
            Constraint::Length(1),
        ];
        let [head, chart, below, foot] = Layout::vertical(rows).areas(frame.area());
        self.draw_head(frame, head);
        self.draw_losses(frame, chart);
        let columns = [Constraint::Max(TIMES_WIDTH), Constraint::Fill(1)];
        let [times, sample] = Layout::horizontal(columns).areas(below);
        self.draw_times(frame, times);
        self.draw_sample(frame, sample);
        let keys = if self.is_stopping {
            "stopping after this step; Ctrl-C once more ends at once"
        } else {
            "q or Ctrl-C: stop after this step and save"
        };
        frame.render_widget(Paragraph::new(keys).dim(), foot);
    }

    fn draw_head(&self, frame: &mut Frame<'_>, area: Rect) {
        let [title, bar, numbers] = Layout::vertical([Constraint::Length(1); 3]).areas(area);
        frame.render_widget(Line::from(vec!["anec train  ".bold(), self.model.as_str().into()]), title);
        let done = self.losses.len() as u64;
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let ratio = (done as f64 / self.last.max(1) as f64).clamp(0.0, 1.0);
        let left = self.left().map_or_else(String::new, |left| format!(", {} left", duration(left)));
        let label = format!("step {done} of {}{left}", self.last);
        frame.render_widget(Gauge::default().gauge_style(Color::Blue).ratio(ratio).label(label), bar);
        let Some(StepReport { loss, lr, grad_norm, tokens_per_second, .. }) = &self.report else { return };
        let best = self.losses.iter().copied().fold(f64::INFINITY, f64::min);
        let norm = grad_norm.map_or_else(|| "overflowed".to_owned(), |norm| format!("norm {norm:.3}"));
        let text = format!(
            "loss {loss:.4}  best {best:.4}  lr {lr:.2e}  {norm}  {tokens_per_second:.0} tokens/s  {}",
            duration(self.elapsed)
        );
        frame.render_widget(Line::from(text), numbers);
    }

    /// Time left, by the steps of this training so far.
    fn left(&self) -> Option<Duration> {
        let steps = self.losses.len().checked_sub(self.before).filter(|steps| *steps > 0)?;
        let left = self.last.saturating_sub(self.losses.len() as u64);
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let seconds = self.elapsed.as_secs_f64() / steps as f64 * left as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }

    #[expect(clippy::cast_precision_loss, reason = "a plot is as exact as its dots")]
    fn draw_losses(&self, frame: &mut Frame<'_>, area: Rect) {
        // Two dots a column, and no more of the losses than dots.
        let every = self.losses.len().div_ceil(2 * usize::from(area.width).max(1)).max(1);
        let (mut points, mut smooth, mut mean) = (Vec::new(), Vec::new(), None);
        for (step, loss) in self.losses.iter().enumerate().filter(|(_, loss)| loss.is_finite()) {
            let level = mean.map_or(*loss, |mean: f64| PAST * mean + (1.0 - PAST) * loss);
            mean = Some(level);
            if step % every == 0 || step + 1 == self.losses.len() {
                points.push(((step + 1) as f64, *loss));
                smooth.push(((step + 1) as f64, level));
            }
        }
        let low = points.iter().map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min);
        let high = points.iter().map(|(_, loss)| *loss).fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if low < high { (low, high) } else { (0.0, 1.0) };
        let last = (self.losses.len().max(2)) as f64;
        let losses = Dataset::default().marker(Marker::Dot).graph_type(GraphType::Scatter).data(&points);
        let smooth = Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).data(&smooth);
        let datasets = vec![losses.style(Style::new().dim()), smooth.cyan()];
        let levels = [low, f64::midpoint(low, high), high].map(|level| format!("{level:.3}"));
        let steps = [1.0, (last / 2.0).round(), last].map(|step| format!("{step}"));
        let chart = Chart::new(datasets)
            .block(Block::bordered().title("loss"))
            .legend_position(None)
            .x_axis(Axis::default().bounds([1.0, last]).labels(steps))
            .y_axis(Axis::default().bounds([low, high]).labels(levels));
        frame.render_widget(chart, area);
    }

    fn draw_times(&self, frame: &mut Frame<'_>, area: Rect) {
        let all = self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let in_programs: f64 = self.times.iter().map(|time| time.seconds).sum();
        let row = |name: String, calls: String, each: String, seconds: f64| {
            let share = (seconds / all).clamp(0.0, 1.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a short bar")]
            let bar = "█".repeat((share * f64::from(BAR_WIDTH)).round() as usize);
            let share = format!("{:.0} %", 100.0 * share);
            let numbers = [calls, each, share].map(|number| Cell::from(Line::from(number).right_aligned()));
            Row::new(std::iter::once(Cell::from(name)).chain(numbers).chain([Cell::from(bar).blue()]))
        };
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let rows = self.times.iter().map(|KindTime { kind, calls, seconds }| {
            let each = format!("{:.1} ms", 1e3 * seconds / (*calls).max(1) as f64);
            row(kind.name().to_owned(), calls.to_string(), each, *seconds)
        });
        let rest = row("the rest".to_owned(), String::new(), String::new(), (all - in_programs).max(0.0));
        let widths = [9, 8, 10, 5, BAR_WIDTH].map(Constraint::Length);
        let header = ["program", "calls", "a call", "share"].map(|title| match title {
            "program" => Line::from(title),
            _ => Line::from(title).right_aligned(),
        });
        let table = Table::new(rows.chain([rest]), widths)
            .header(Row::new(header).dim())
            .block(Block::bordered().title("time"));
        frame.render_widget(table, area);
    }

    fn draw_sample(&self, frame: &mut Frame<'_>, area: Rect) {
        let block = Block::bordered();
        let Some((step, prompt, text)) = &self.sample else {
            frame.render_widget(block.title("text"), area);
            return;
        };
        let mut lines: Vec<Line<'_>> = Vec::new();
        let mut prompt = prompt.split('\n').map(Stylize::dim).peekable();
        let mut text = text.split('\n');
        while let Some(line) = prompt.next() {
            lines.push(if prompt.peek().is_some() {
                Line::from(line)
            } else {
                Line::from(vec![line, text.next().unwrap_or_default().into()])
            });
        }
        lines.extend(text.map(Line::from));
        let paragraph = Paragraph::new(lines).wrap(Wrap { trim: false });
        frame.render_widget(paragraph.block(block.title(format!("text after step {step}"))), area);
    }
}

/// What a model is, in a few words.
pub(super) fn described(parameters: usize, shape: &crate::training::TrainingShape) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits")]
    let count = metric(parameters as f64);
    let count = count.trim_end();
    format!(
        "{count} parameters, {} layers of {} channels, {} tokens a sequence",
        shape.layers, shape.dim, shape.sequence
    )
}

/// Seconds, minutes and hours, two of them.
fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::training::Kind;

    /// What a terminal of this size shows.
    fn shown(progress: &Progress, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal.draw(|frame| progress.draw(frame)).expect("drawn");
        let buffer = terminal.backend().buffer();
        let line = |row: &[ratatui::buffer::Cell]| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>();
        buffer.content().chunks(usize::from(width)).map(|row| line(row).trim_end().to_owned()).collect()
    }

    fn progress() -> Progress {
        let losses: Vec<f64> = (0..60).map(|step| 8.0 - f64::from(step) / 15.0).collect();
        let time = |kind| KindTime { kind, calls: 120, seconds: 6.0 };
        Progress {
            model: "12.3 M parameters".to_owned(),
            last: 240,
            before: 20,
            report: Some(StepReport {
                step: 60,
                loss: 4.0667,
                lr: 3e-4,
                grad_norm: Some(0.75),
                loss_scale: 1.0,
                tokens_per_second: 1234.4,
            }),
            times: Kind::ALL.into_iter().map(time).collect(),
            sample: Some((50, "Once upon\na time".to_owned(), " there was\na fox".to_owned())),
            elapsed: Duration::from_mins(1),
            losses,
            is_stopping: false,
        }
    }

    #[test]
    fn the_state_of_a_training_is_on_one_screen() {
        let lines = shown(&progress(), 120, 40);
        let all = lines.join("\n");
        assert_eq!(lines[0], "anec train  12.3 M parameters");
        // 40 steps took a minute.
        assert!(lines[1].contains("step 60 of 240, 4 min 30 s left"), "{all}");
        assert_eq!(lines[2], "loss 4.0667  best 4.0667  lr 3.00e-4  norm 0.750  1234 tokens/s  1 min 0 s");
        for part in
            ["fwdAttn        120    50.0 ms  10 %", "the rest", "40 %", "text after step 50", "a time there was"]
        {
            assert!(all.contains(part), "{part} in\n{all}");
        }
        let first = lines.iter().position(|line| line.contains("8.000")).expect("the highest loss");
        let last = lines.iter().position(|line| line.contains("4.067")).expect("the lowest loss");
        assert!(first < last, "{all}");
        assert!(lines[39].starts_with("q or Ctrl-C"), "{all}");
    }

    #[test]
    fn no_size_and_no_state_breaks_the_picture() {
        for (width, height) in [(1, 1), (20, 5), (80, 24), (300, 100)] {
            for progress in [Progress::default(), progress()] {
                assert_eq!(shown(&progress, width, height).len(), usize::from(height));
            }
        }
        let odd = Progress { losses: vec![f64::NAN, 3.0, 3.0], last: 1, ..Progress::default() };
        shown(&odd, 80, 24);
    }

    #[test]
    fn times_are_told_in_two_units() {
        let texts = [0, 59, 61, 3600, 86_399].map(|seconds| duration(Duration::from_secs(seconds)));
        assert_eq!(texts, ["0 s", "59 s", "1 min 1 s", "1 h 0 min", "23 h 59 min"]);
    }
}
