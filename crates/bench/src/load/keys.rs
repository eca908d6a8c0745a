//! Which key is next, and how it is called.
//!
//! Invariants: a function of the seed alone; no clock, no I/O.

use std::cell::Cell;
use std::rc::Rc;

use anyhow::{Result, bail};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::options::Distribution;
use crate::numbers::{count, float, size, whole};

/// A prime above any number of keys: multiples of it visit each key once.
const SCATTER: u64 = 2_654_435_761;
const DIGITS: &[u8; 10] = b"0123456789";

/// Names of keys of one size: `k064/000…0042`, in the order of their indexes.
#[derive(Clone, Debug)]
pub(super) struct Names {
    first: Vec<u8>,
    prefix: usize,
}

impl Names {
    /// Names of `bytes` bytes for `keys` keys.
    ///
    /// # Errors
    /// When they do not fit.
    pub(super) fn new(bytes: u64, keys: u64) -> Result<Self> {
        let prefix = format!("k{bytes:03}/").into_bytes();
        // Ends of ranges have the index after the last.
        let digits = keys.to_string().len();
        let min = prefix.len() + digits;
        if size(bytes) < min {
            bail!("--key-bytes {bytes}: names of {keys} keys need at least {min}");
        }
        let length = prefix.len();
        let mut first = prefix;
        first.resize(size(bytes), b'0');
        Ok(Self { first, prefix: length })
    }

    /// The name with index 0, which all templates are made with.
    pub(super) fn first(&self) -> &[u8] {
        &self.first
    }

    /// The name with this index.
    pub(super) fn name(&self, index: u64) -> Vec<u8> {
        let mut name = self.first.clone();
        write_index(&mut name, index);
        name
    }

    /// Whether `name` is the one with this index.
    pub(super) fn is(&self, name: &[u8], index: u64) -> bool {
        if name.len() != self.first.len() {
            return false;
        }
        let mut rest = index;
        let pairs = name.iter().zip(&self.first).rev();
        pairs.fold(true, |equal, (byte, first)| {
            let wanted = if rest == 0 { *first } else { DIGITS[size(rest % 10)] };
            rest /= 10;
            equal && *byte == wanted
        })
    }

    /// First name, and the end of the range that holds all.
    pub(super) fn all(&self) -> (Vec<u8>, Vec<u8>) {
        let mut end = self.first[..self.prefix].to_vec();
        // '/' becomes '0'.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        (self.first[..self.prefix].to_vec(), end)
    }
}

/// Turns a copy of [`Names::first`] into the name with this index.
pub(super) fn write_index(first: &mut [u8], index: u64) {
    let mut rest = index;
    for byte in first.iter_mut().rev() {
        if rest == 0 {
            break;
        }
        *byte = DIGITS[size(rest % 10)];
        rest /= 10;
    }
}

/// A seeded chooser of indexes below a number.
#[derive(Clone, Debug)]
pub(super) struct Picker {
    shape: Shape,
    keys: u64,
    rng: SmallRng,
}

#[derive(Clone, Debug)]
enum Shape {
    Uniform,
    Zipf(Rc<Zipf>),
    /// The next one, shared by all; steps by the number of processes.
    Sequential(Rc<Cell<u64>>, u64),
}

impl Picker {
    /// Of indexes below `keys`, for process `process` of `processes`.
    pub(super) fn new(
        distribution: Distribution,
        keys: u64,
        seed: u64,
        process: u64,
        processes: u64,
    ) -> Self {
        let shape = match distribution {
            Distribution::Uniform => Shape::Uniform,
            Distribution::Zipf { theta } => Shape::Zipf(Rc::new(Zipf::new(keys, theta))),
            Distribution::Sequential => Shape::Sequential(Rc::new(Cell::new(process)), processes),
        };
        Self { shape, keys, rng: rng(seed, process, 0) }
    }

    /// The same for another user, who gets choices of its own (a sequence goes on for all).
    pub(super) fn for_user(&self, seed: u64, process: u64, user: usize) -> Self {
        Self { rng: rng(seed, process, count(user) + 1), ..self.clone() }
    }

    /// The next index.
    pub(super) fn next(&mut self) -> u64 {
        self.position() % self.keys
    }

    /// As [`Self::next`], but a sequence ends after the last key.
    pub(super) fn next_unused(&mut self) -> Option<u64> {
        Some(self.position()).filter(|position| *position < self.keys)
    }

    /// Whether something with this probability happens.
    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.rng.random::<f64>() < share
    }

    fn position(&mut self) -> u64 {
        match &self.shape {
            Shape::Uniform => self.rng.random_range(0..self.keys),
            Shape::Zipf(zipf) => {
                let rank = zipf.rank(self.rng.random::<f64>());
                rank * (SCATTER % self.keys.max(1)) % self.keys
            }
            Shape::Sequential(next, step) => {
                let position = next.get();
                next.set(position + step);
                position
            }
        }
    }
}

fn rng(seed: u64, process: u64, user: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed ^ (process << 48) ^ (user << 16))
}

/// Ranks by Zipf's law (the method of Gray et al., "Quickly generating billion-record synthetic
/// databases", 1994, as YCSB has it).
#[derive(Debug)]
struct Zipf {
    keys: u64,
    theta: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    fn new(keys: u64, theta: f64) -> Self {
        let zeta: f64 = (1..=keys).map(|rank| float(rank).powf(-theta)).sum();
        let two = 1.0 + 0.5_f64.powf(theta);
        let eta = (1.0 - (2.0 / float(keys)).powf(1.0 - theta)) / (1.0 - two / zeta);
        Self { keys, theta, zeta, alpha: 1.0 / (1.0 - theta), eta }
    }

    /// The rank, from 0, that belongs to a uniform `share` in [0, 1).
    fn rank(&self, share: f64) -> u64 {
        let scaled = share * self.zeta;
        let rank = if scaled < 1.0 {
            0
        } else if scaled < 1.0 + 0.5_f64.powf(self.theta) {
            1
        } else {
            whole(float(self.keys) * (self.eta * share - self.eta + 1.0).powf(self.alpha))
        };
        rank.min(self.keys - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(distribution: Distribution, keys: u64, seed: u64, picks: usize) -> Vec<u64> {
        let mut picker = Picker::new(distribution, keys, seed, 0, 1).for_user(seed, 0, 3);
        (0..picks).map(|_| picker.next()).collect()
    }

    #[test]
    fn names_have_their_size_and_order() {
        let names = Names::new(64, 100_000).unwrap();
        for (index, end) in [(0, "000000"), (7, "000007"), (99_999, "099999"), (100_000, "100000")]
        {
            let name = names.name(index);
            assert_eq!(name.len(), 64);
            assert!(name.starts_with(b"k064/0") && name.ends_with(end.as_bytes()), "{index}");
            let (from, to) = names.all();
            assert!(from <= name && name < to);
            assert!(names.is(&name, index) && !names.is(&name, index + 1), "{index}");
        }
        assert!(Names::new(10, 100_000).is_err() && Names::new(11, 100_000).is_ok());
        // Names of another size are in no range of these.
        let other = Names::new(63, 1).unwrap().name(0);
        assert!(other < names.all().0 || other >= names.all().1);
    }

    #[test]
    fn choices_follow_from_the_seed() {
        for distribution in [Distribution::Uniform, Distribution::Zipf { theta: 0.99 }] {
            assert_eq!(picks(distribution, 1000, 7, 500), picks(distribution, 1000, 7, 500));
            assert_ne!(picks(distribution, 1000, 7, 500), picks(distribution, 1000, 8, 500));
        }
        let picker = Picker::new(Distribution::Uniform, 1000, 7, 0, 1);
        let of_user = |user| {
            let mut picker = picker.for_user(7, 0, user);
            (0..50).map(|_| picker.next()).collect::<Vec<_>>()
        };
        assert_ne!(of_user(0), of_user(1));
    }

    #[test]
    fn sequences_are_shared_and_end_where_keys_are_used_up() {
        let mut first = Picker::new(Distribution::Sequential, 3, 1, 0, 1);
        let mut second = first.for_user(1, 0, 1);
        assert_eq!([first.next(), second.next(), first.next(), second.next()], [0, 1, 2, 0]);
        let picker = Picker::new(Distribution::Sequential, 5, 1, 1, 2);
        let mut third = picker.for_user(1, 1, 0);
        assert_eq!(
            [third.next_unused(), third.next_unused(), third.next_unused()],
            [Some(1), Some(3), None]
        );
    }

    #[test]
    fn uniform_reaches_all_keys_alike() {
        let mut hits = vec![0_u32; 100];
        for index in picks(Distribution::Uniform, 100, 1, 100_000) {
            hits[size(index)] += 1;
        }
        assert!(hits.iter().all(|hits| (800..1200).contains(hits)), "{hits:?}");
    }

    #[test]
    fn zipf_has_its_shape() {
        let (keys, theta) = (1000, 0.9);
        let mut hits = vec![0_u32; 1000];
        for index in picks(Distribution::Zipf { theta }, keys, 1, 200_000) {
            hits[size(index)] += 1;
        }
        hits.sort_unstable_by(|a, b| b.cmp(a));
        let zeta: f64 = (1..=keys).map(|rank| float(rank).powf(-theta)).sum();
        for rank in [1_usize, 2, 10, 50] {
            let wanted = 200_000.0 * float(count(rank)).powf(-theta) / zeta;
            let share = f64::from(hits[rank - 1]) / wanted;
            assert!((0.7..1.4).contains(&share), "rank {rank}: {share}");
        }
        // All are reached by someone, the edges do not leave the range.
        for keys in [1, 2, 3] {
            let zipf = Zipf::new(keys, theta);
            for share in [0.0, 0.5, 0.999_999_999] {
                assert!(zipf.rank(share) < keys, "{keys} {share}");
            }
        }
    }
}
