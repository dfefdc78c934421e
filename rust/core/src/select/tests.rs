//! The risk: a selection that is not the one that sorting all `f64` scores would
//! give, or that depends on chunks, merges or threads (contracts 2, 4 and 7).

mod large;
mod noise;
mod order;
mod state;
mod together;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use proptest::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::*;
use crate::element::{Element, ElementKind, bf16, f16};
use crate::scores::pool::Output;
use crate::scores::rows::Rows;
use crate::scores::sink::Sink;
use crate::scores::{Aggregate, Invalid, Measure, Task};
use crate::simd::Simd;

/// `SplitMix64`.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * 2.0_f64.powi(-53)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

fn exec(pool: Option<&ThreadPool>) -> Exec<'_> {
    static NEVER: AtomicBool = AtomicBool::new(false);
    static FIGURE: AtomicU64 = AtomicU64::new(0);
    static DONE: AtomicUsize = AtomicUsize::new(0);
    Exec {
        pool,
        simd: Simd::detect(),
        cancel: &NEVER,
        done: &DONE,
        figure: &FIGURE,
    }
}

fn threads(n: usize) -> ThreadPool {
    let pool = ThreadPoolBuilder::new().num_threads(n);
    pool.build().expect("threads")
}

/// Scores on which `f32` and `f64` arithmetic may disagree, and some exact ones.
fn scores() -> Vec<Score> {
    let score = |measure, task, temperature| Score {
        task,
        temperature,
        ..Score::new(measure)
    };
    vec![
        score(Measure::Entropy, Task::Multiclass, None),
        score(Measure::Margin, Task::Multiclass, None),
        score(Measure::LeastConfidence, Task::Multiclass, None),
        score(Measure::Ratio, Task::Multiclass, None),
        score(Measure::Entropy, Task::Multiclass, Some(1.0)),
        score(Measure::Margin, Task::Multiclass, Some(0.5)),
        score(Measure::Entropy, Task::Multilabel(Aggregate::Mean), None),
        score(Measure::Margin, Task::Multilabel(Aggregate::Max), None),
        score(Measure::Ratio, Task::Multilabel(Aggregate::Sum), Some(2.0)),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Rarity {
    /// Nearly every row has a score of its own.
    Random,
    /// A handful of rows and their copies.
    Copies,
    /// One row and its copies.
    Equal,
    /// One row and its permutations: scores differ in the last bits, if at all.
    Permuted,
}
const RARITIES: [Rarity; 4] = [
    Rarity::Random,
    Rarity::Copies,
    Rarity::Equal,
    Rarity::Permuted,
];

/// Rows that are probabilities, and pass for labels and logits.
fn rows_of(rarity: Rarity, rows: usize, cols: usize, rng: &mut Rng) -> Vec<f64> {
    let distinct = match rarity {
        Rarity::Random => rows,
        Rarity::Copies => 5,
        Rarity::Equal | Rarity::Permuted => 1,
    };
    let mut row = || -> Vec<f64> {
        let raw: Vec<f64> = (0..cols).map(|_| 0.02 + rng.unit()).collect();
        let sum: f64 = raw.iter().sum();
        raw.iter().map(|x| x / sum).collect()
    };
    let mut base: Vec<Vec<f64>> = (0..distinct).map(|_| row()).collect();
    let pick = |i: usize| {
        if rarity == Rarity::Random {
            return base[i].clone();
        }
        let i = rng.below(distinct);
        if rarity == Rarity::Permuted {
            rng.shuffle(&mut base[i]);
        }
        base[i].clone()
    };
    (0..rows).flat_map(pick).collect()
}

fn double(score: &Score, matrix: &Matrix<'_>) -> Vec<f64> {
    let mut out = vec![0.0; matrix.rows()];
    let rows = Rows::Range(0, matrix.rows());
    let sink = Sink::All(Output::F64(&mut out));
    score.of_rows(Simd::detect(), matrix, rows, sink, &mut Vec::new());
    out
}

/// What a row of a chunk is known as.
fn name<S: Ids>(ids: &S, row: usize, index: i64) -> Name<S::Id> {
    <S::Id as Id>::name(ids.get(row).key(), index)
}

/// Sorts everything: the rows to select, best first.
fn naive<S: Ids>(scores: &[f64], ids: &S, ties: Ties, keep: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..scores.len()).filter(|row| keep(*row)).collect();
    rows.sort_by_cached_key(|row| {
        let tie = match ties {
            Ties::First => 0,
            Ties::Random(_) => ids.tie(*row, ties),
        };
        (
            std::cmp::Reverse(pass::ordered(scores[*row])),
            tie,
            name(ids, *row, *row as i64),
        )
    });
    rows
}

/// A pool and what is asked of it.
struct Case<'a> {
    matrix: Matrix<'a>,
    criterion: Criterion,
    k: usize,
    ties: Ties,
    mask: Option<Vec<u8>>,
    skip_invalid: bool,
}

impl Case<'_> {
    fn selector<I: Id>(&self, exclude_ids: &HashSet<Name<I>>) -> Selector<I> {
        Selector::new(self.criterion, self.k, self.ties, exclude_ids.clone())
    }

    /// Some rows; `columns` is for where theirs begin.
    fn part<'a>(&'a self, rows: &Range<usize>, columns: &'a mut Vec<*const u8>) -> Matrix<'a> {
        let m = &self.matrix;
        let start = if rows.is_empty() { 0 } else { rows.start };
        if m.is_apart() {
            let offset = start.cast_signed() * m.row_stride();
            columns.extend((0..m.cols()).map(|col| m.col_ptr(col).wrapping_offset(offset)));
            // SAFETY: some rows of columns.
            return unsafe { Matrix::from_columns(columns, rows.len(), m.kind()) };
        }
        let shape = (rows.len(), m.cols());
        let strides = (m.row_stride(), m.col_stride());
        // SAFETY: some rows of a matrix.
        unsafe { Matrix::from_raw_parts(m.row_ptr(start), shape, strides, m.kind()) }
    }

    fn update<S: Ids>(
        &self,
        selector: &mut Selector<S::Id>,
        pool: Option<&ThreadPool>,
        rows: Range<usize>,
        ids: S,
    ) -> Result<Option<InvalidRows>> {
        let mut columns = Vec::new();
        let chunk = Chunk {
            matrix: Some(self.part(&rows, &mut columns)),
            rows: rows.len(),
            exclude: self.mask.as_ref().map(|mask| &mask[rows]),
            skip_invalid: self.skip_invalid,
            places: Places::Next,
        };
        selector.update(&exec(pool), &chunk, ids)
    }
}

/// Cuts `0..rows` anywhere.
fn cut(rows: usize, rng: &mut Rng) -> Vec<Range<usize>> {
    let mut cuts: Vec<usize> = (0..rng.below(5)).map(|_| rng.below(rows + 1)).collect();
    cuts.extend([0, rows]);
    cuts.sort_unstable();
    cuts.windows(2).map(|w| w[0]..w[1]).collect()
}

/// In one piece, in chunks, and merged: all must be the `expected` rows.
fn assert_selects<S: Ids>(
    case: &Case<'_>,
    expected: &[(Name<S::Id>, f64)],
    exclude_ids: &HashSet<Name<S::Id>>,
    ids: impl Fn(Range<usize>) -> S,
    rng: &mut Rng,
) {
    let rows = case.matrix.rows();
    let pool = threads(2);
    let pool = (rng.below(2) == 0).then_some(&pool);
    let check = |selector: &mut Selector<S::Id>, positions: bool| {
        let got = selector.finish(&exec(pool)).expect("sorted");
        let plain: Vec<_> = got.iter().map(|e| (e.id.clone(), e.score)).collect();
        assert_eq!(plain, expected, "{:?}", case.criterion);
        for entry in got.iter().filter(|_| positions) {
            let at = entry.index as usize;
            assert_eq!(name(&ids(at..at + 1), 0, entry.index), entry.id);
        }
        assert_eq!(selector.rows(), rows as u64);
    };
    let mut whole = case.selector(exclude_ids);
    let all = case.update(&mut whole, pool, 0..rows, ids(0..rows));
    all.expect("selected");
    check(&mut whole, true);

    let mut chunked = case.selector(exclude_ids);
    let chunks = cut(rows, rng);
    for chunk in &chunks {
        let part = case.update(&mut chunked, pool, chunk.clone(), ids(chunk.clone()));
        part.expect("selected");
    }
    check(&mut chunked, true);
    assert_eq!(chunked.skipped(), whole.skipped());

    if S::Id::OWN {
        let mut parts: Vec<_> = (0..3).map(|_| case.selector(exclude_ids)).collect();
        for chunk in chunks {
            let at = rng.below(3);
            let part = case.update(&mut parts[at], pool, chunk.clone(), ids(chunk));
            part.expect("selected");
        }
        rng.shuffle(&mut parts);
        let mut merged = parts.pop().expect("three");
        for part in &parts {
            merged.merge(part).expect("of a kind");
        }
        check(&mut merged, false);
        assert_eq!(merged.skipped(), whole.skipped());
    }
}

/// One pool with every kind of ids.
fn check_pool<E: Element>(
    values: &[E],
    cols: usize,
    score: Score,
    weight: Option<Weight>,
    rng: &mut Rng,
) {
    let rows = values.len() / cols;
    let mut values = values.to_vec();
    let nan = rng.below(3) == 0;
    let invalid: Vec<bool> = (0..rows).map(|_| nan && rng.below(9) == 0).collect();
    for (row, _) in invalid.iter().enumerate().filter(|(_, bad)| **bad) {
        // Minus infinity plus nothing is a logit, but a row of it has no softmax.
        values[row * cols..][..cols].fill(E::LOWEST);
    }
    let labels = matches!(score.task, Task::Multilabel(_)) && score.temperature.is_some();
    let bad = |row: usize| invalid[row] && !labels;
    let plain = Matrix::from_slice(&values, rows, cols).expect("fits");
    let transposed: Vec<E> = (0..cols * rows)
        .map(|i| values[i % rows * cols + i / rows])
        .collect();
    let columns: Vec<*const u8> = transposed.chunks(rows).map(|x| x.as_ptr().cast()).collect();
    // SAFETY: as many elements as rows in each.
    let apart = unsafe { Matrix::from_columns(&columns, rows, E::KIND) };
    let matrix = [plain, apart][rng.below(2)];
    let mask: Option<Vec<u8>> =
        (rng.below(2) == 0).then(|| (0..rows).map(|_| u8::from(rng.below(4) == 0)).collect());
    let masked = |row: usize| mask.as_ref().is_some_and(|mask| mask[row] != 0);
    let case = Case {
        matrix,
        criterion: weight.map_or(Criterion::Score(score), |weight| {
            let (beta, seed) = (4.0 * rng.unit() + 0.1, rng.next());
            Criterion::Noisy(Some(score), Noise { weight, beta, seed })
        }),
        k: 1 + rng.below(rows),
        ties: [Ties::First, Ties::Random(rng.next())][rng.below(2)],
        mask: mask.clone(),
        skip_invalid: true,
    };
    let plain = double(&score, &plain);
    let dropped: HashSet<usize> = (0..rng.below(2) * rows / 5)
        .map(|_| rng.below(rows))
        .collect();
    let keep = |row: usize| !masked(row) && !dropped.contains(&row) && !bad(row);

    let positions = Positions { start: 0 };
    let scores = noise::added(&case.criterion, &plain, &positions);
    let best = naive(&scores, &positions, case.ties, keep)
        .into_iter()
        .take(case.k);
    let best: Vec<_> = best.map(|row| (row as i64, scores[row])).collect();
    let drop = dropped.iter().map(|row| *row as i64).collect();
    let ids = |rows: Range<usize>| Positions {
        start: rows.start as i64,
    };
    assert_selects(&case, &best, &drop, ids, rng);

    let mut numbers: Vec<i64> = (0..rows as i64)
        .map(|i| (i - 100) * 7_777_777_777)
        .collect();
    rng.shuffle(&mut numbers);
    let scores = noise::added(&case.criterion, &plain, &numbers.as_slice());
    let best = naive(&scores, &numbers.as_slice(), case.ties, keep)
        .into_iter()
        .take(case.k);
    let best: Vec<_> = best.map(|row| (numbers[row], scores[row])).collect();
    let drop = dropped.iter().map(|row| numbers[*row]).collect();
    assert_selects(&case, &best, &drop, |rows| &numbers[rows], rng);

    // Strings that differ early, late (behind eight bytes) or in length alone.
    let mut strings: Vec<String> = (0..rows)
        .map(|i| ["", "document-", "é\0"][i % 3].to_owned() + &"9".repeat(i / 30) + &i.to_string())
        .collect();
    rng.shuffle(&mut strings);
    let mut offsets = vec![0];
    offsets.extend(strings.iter().scan(0, |at, s| {
        *at += s.len() as i64;
        Some(*at)
    }));
    let bytes = strings.concat();
    let ids = |rows: Range<usize>| {
        Strings::new(&offsets[rows.start..=rows.end], bytes.as_bytes()).expect("fits")
    };
    let scores = noise::added(&case.criterion, &plain, &ids(0..rows));
    let best = naive(&scores, &ids(0..rows), case.ties, keep)
        .into_iter()
        .take(case.k);
    let id = |row: usize| -> Box<[u8]> { strings[row].as_bytes().into() };
    let best: Vec<_> = best.map(|row| (id(row), scores[row])).collect();
    let drop = dropped.iter().map(|row| id(*row)).collect();
    assert_selects(&case, &best, &drop, ids, rng);
}

proptest! {
    #[test]
    fn a_selection_is_what_sorting_gives(
        seed in any::<u64>(),
        rows in 1_usize..300,
        cols in 2_usize..40,
        rarity in prop::sample::select(RARITIES.to_vec()),
        score in prop::sample::select(scores()),
        weight in prop::sample::select(vec![None, Some(Weight::Power), Some(Weight::Softmax)]),
    ) {
        let mut rng = Rng(seed);
        let values = rows_of(rarity, rows, cols, &mut rng);
        let to = |x: &f64| *x as f32;
        match seed % 6 {
            0 => check_pool(&values.iter().map(|x| f16::from_f64(*x)).collect::<Vec<_>>(), cols, score, weight, &mut rng),
            1 => check_pool(&values.iter().map(|x| bf16::from_f64(*x)).collect::<Vec<_>>(), cols, score, weight, &mut rng),
            2 => check_pool(&values, cols, score, weight, &mut rng),
            _ => check_pool(&values.iter().map(to).collect::<Vec<_>>(), cols, score, weight, &mut rng),
        }
    }
}

/// Two classes given as `P(y = 1)`: in exact arithmetic entropy, margin and least
/// confidence all fall with the distance from one half.
#[test]
fn two_class_scores_never_disagree() {
    let mut rng = Rng(2);
    let half = 0.5_f32.to_bits();
    let mut p: Vec<f32> = (0..4000).map(|i| f32::from_bits(half - 2000 + i)).collect();
    p.extend((0..4000).map(|_| 0.5 + 1e-3 * (rng.unit() as f32 - 0.5)));
    p.extend((0..2000).map(|_| rng.unit() as f32));
    rng.shuffle(&mut p);
    let a: Vec<f64> = p
        .iter()
        .map(|p| f64::from(*p))
        .map(|p| p.min(1.0 - p))
        .collect();
    let want = naive(&a, &Positions { start: 0 }, Ties::First, |_| true);
    let matrix = Matrix::from_slice(&p, p.len(), 1).expect("fits");
    for measure in [Measure::Entropy, Measure::Margin, Measure::LeastConfidence] {
        for k in [1, 50, 1000, p.len()] {
            let case = Case {
                matrix,
                criterion: Criterion::Score(Score {
                    task: Task::Multilabel(Aggregate::Mean),
                    ..Score::new(measure)
                }),
                k,
                ties: Ties::First,
                mask: None,
                skip_invalid: false,
            };
            let mut selector = case.selector(&HashSet::new());
            let ids = Positions { start: 0 };
            case.update(&mut selector, None, 0..p.len(), ids)
                .expect("selected");
            let got: Vec<usize> = selector
                .finish(&exec(None))
                .expect("sorted")
                .iter()
                .map(|e| e.index as usize)
                .collect();
            assert!(got == want[..k], "{measure:?} {k}");
        }
    }
}

/// The `f64` entropy tells every two neighbouring `f32` probabilities apart.
#[test]
fn binary_entropy_is_strictly_monotone_on_f32() {
    let entropy = Score {
        task: Task::Multilabel(Aggregate::Max),
        ..Score::new(Measure::Entropy)
    };
    let mut last = 0.0;
    for block in (0x3e80_0000_u32..0x3f00_0000).step_by(1 << 16) {
        let p: Vec<f32> = (block..=block + (1 << 16)).map(f32::from_bits).collect();
        let scores = double(&entropy, &Matrix::from_slice(&p, p.len(), 1).expect("fits"));
        assert!(scores[0] >= last);
        assert!(scores.is_sorted_by(|a, b| a < b), "near {}", p[0]);
        last = scores[0];
    }
}
