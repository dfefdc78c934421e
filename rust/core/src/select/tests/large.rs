//! The risk: shortcuts that only large pools take, and bars that workers share.

use super::*;

/// Large pools, in every order: bars that are guessed, shared and raised.
#[test]
fn large_pools_are_selected_as_if_sorted() {
    let (rows, cols) = (110_000, 3);
    let pools = [2, 5].map(threads);
    let mut rng = Rng(11);
    let entropy = Score::new(Measure::Entropy);
    let margin = Score::new(Measure::Margin);
    for (n, rarity) in RARITIES.into_iter().chain([Rarity::Random; 4]).enumerate() {
        let values = rows_of(rarity, rows, cols, &mut rng);
        let mut values: Vec<f32> = values.into_iter().map(|x| x as f32).collect();
        let score = [entropy, entropy, entropy, margin][n % 4];
        let shape = Matrix::from_slice(&values, rows, cols).expect("fits");
        let scored = double(&score, &shape);
        let mut order = naive(&scored, &Positions { start: 0 }, Ties::First, |_| true);
        let mut mask = None;
        match n {
            // Best first; best last; only the worst may be selected.
            4 | 5 => {
                if n == 5 {
                    order.reverse();
                }
                let row = |row: &usize| values[row * cols..][..cols].to_vec();
                values = order.iter().flat_map(row).collect();
            }
            6 => {
                let mut excluded = vec![0; rows];
                order[..rows - 5000]
                    .iter()
                    .for_each(|row| excluded[*row] = 1);
                mask = Some(excluded);
            }
            _ => {}
        }
        let matrix = Matrix::from_slice(&values, rows, cols).expect("fits");
        let scored = double(&score, &matrix);
        let keep = |row: usize| mask.as_ref().is_none_or(|mask| mask[row] == 0);
        for ties in [Ties::First, Ties::Random(5)] {
            let expected = naive(&scored, &Positions { start: 0 }, ties, keep);
            for k in [1, 7, 1000, 20_000, rows] {
                let case = Case {
                    matrix,
                    criterion: Criterion::Score(score),
                    k,
                    ties,
                    mask: mask.clone(),
                    skip_invalid: false,
                };
                let pool = pools.get(rng.below(3));
                let mut selector = case.selector(&HashSet::new());
                let ids = Positions { start: 0 };
                case.update(&mut selector, pool, 0..rows, ids)
                    .expect("selected");
                let got: Vec<usize> = selector
                    .finish(&exec(pool))
                    .expect("sorted")
                    .iter()
                    .map(|e| e.index as usize)
                    .collect();
                let want = &expected[..k.min(expected.len())];
                assert!(got == want, "{rarity:?} {n} {k} {ties:?}");
            }
        }
    }
}

/// A bar that few rows reach, in a large pool: guessed from the very rows that the
/// sample takes, while the rest of the selection lies where `f32` cannot tell which
/// rows reach the bar.
#[test]
fn a_bar_that_was_guessed_too_high_is_noticed() {
    let (rows, k) = (100_000, 20);
    let score = Score::new(Measure::Entropy);
    // Neighbours of one row, turned, so that their sums round in different ways.
    let row = |i: u32| {
        let x = 0.3 + i as f32 * 2.0_f32.powi(-25);
        let mut row = [x, 0.03, 0.05, 0.12, 0.5 - (x - 0.3)];
        row.rotate_left(i as usize % 5);
        row
    };
    let near: Vec<f32> = (0..8000).flat_map(row).collect();
    let near = Matrix::from_slice(&near, 8000, 5).expect("fits");
    let exact = double(&score, &near);
    let mut screened = vec![0.0; 8000];
    let all = Rows::Range(0, 8000);
    let sink = Sink::All(Output::F32(&mut screened));
    score.of_rows(Simd::detect(), &near, all, sink, &mut Vec::new());
    let screened: Vec<f64> = screened.into_iter().map(f64::from).collect();
    let high = 6000;
    let bar = score.bound(&near).least(screened[high]);
    let below = (0..high).filter(|i| screened[*i] < bar);
    let best_below = below
        .max_by(|a, b| exact[*a].total_cmp(&exact[*b]))
        .expect("some");
    let above = (0..high).filter(|i| screened[*i] >= bar);
    let worst_above = above
        .min_by(|a, b| exact[*a].total_cmp(&exact[*b]))
        .expect("some");
    assert!(
        exact[worst_above] < exact[best_below],
        "no disagreement to test"
    );

    let stratum = rows / (rows / 512);
    let sampled =
        |i: usize| i * stratum + (ids::uniform(ids::mix(i as u64)) * stratum as f64) as usize;
    for others in [0, 15] {
        let mut pool = [0.96_f32, 0.01, 0.01, 0.01, 0.01].repeat(rows);
        let mut put = |at: usize, i: usize| pool[at * 5..][..5].copy_from_slice(&row(i as u32));
        (0..5).for_each(|i| put(sampled(i), high));
        let free = (0..rows).filter(|at| (0..rows / stratum).all(|i| sampled(i) != *at));
        for (n, at) in free.step_by(101).take(2 * others).enumerate() {
            put(at, if n % 2 == 0 { best_below } else { worst_above });
        }
        let matrix = Matrix::from_slice(&pool, rows, 5).expect("fits");
        let positions = Positions { start: 0 };
        let want = naive(&double(&score, &matrix), &positions, Ties::First, |_| true);
        let case = Case {
            matrix,
            criterion: Criterion::Score(score),
            k,
            ties: Ties::First,
            mask: None,
            skip_invalid: false,
        };
        let mut selector = case.selector(&HashSet::new());
        case.update(&mut selector, None, 0..rows, positions)
            .expect("selected");
        let got: Vec<usize> = selector
            .finish(&exec(None))
            .expect("sorted")
            .iter()
            .map(|e| e.index as usize)
            .collect();
        assert_eq!(got, want[..k]);
    }
}
