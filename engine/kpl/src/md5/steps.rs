//! MD5's compression function, written once for any number of messages.
//!
//! One block of one message is 64 steps, each of which needs the result of the one before:
//!
//! ```text
//! for i in 0..64:
//!     a = b + rotate_left(a + mix(b, c, d) + word[index(i)] + CONSTANTS[i], ROTATIONS[i])
//!     (a, b, c, d) = (d, a, b, c)
//! ```
//!
//! Nothing inside one message can run side by side, so a core's wide units stand idle. Different
//! messages are independent: a vector holds `a` of as many messages as it has lanes, and the same
//! 64 steps serve them all.

/// What the compression function takes in at a time.
pub(super) type Block = [u8; 64];

/// The most lanes that any kernel has.
pub(super) const MAX_LANES: usize = 32;

/// MD5's four state words, each for every lane.
#[repr(align(64))]
pub(super) struct States(pub(super) [[u32; MAX_LANES]; 4]);

impl States {
    /// The state words of one lane.
    pub(super) fn get(&self, lane: usize) -> [u32; 4] {
        self.0.each_ref().map(|numbers| numbers[lane])
    }

    /// Replaces the state words of one lane.
    pub(super) fn set(&mut self, lane: usize, state: [u32; 4]) {
        for (numbers, number) in self.0.iter_mut().zip(state) {
            numbers[lane] = number;
        }
    }
}

/// The state that every message begins with (RFC 1321, section 3.3).
pub(super) const INITIAL: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The compression function compiled for one number of lanes on one instruction set.
pub(super) trait Kernel {
    /// How many messages it takes in at a time, at most [`MAX_LANES`].
    fn lanes(&self) -> usize;

    /// Runs the first `blocks` blocks of `streams[lane]` through lane `lane` of `states`, for every
    /// lane.
    ///
    /// # Panics
    /// When there are fewer streams than lanes, or one is shorter than `blocks`.
    fn compress(&self, states: &mut States, streams: &[&[Block]], blocks: usize);
}

/// The arithmetic of MD5's steps, for one message or for many.
///
/// A value of an implementing type is the proof that the machine has its instructions: that is why
/// the methods are safe.
pub(super) trait Arithmetic: Copy {
    /// One `u32` for each message.
    type Word: Copy;

    /// The same number for all messages.
    fn splat(self, number: u32) -> Self::Word;

    /// Wrapping sum.
    fn add(self, left: Self::Word, right: Self::Word) -> Self::Word;

    /// Rotation to the left by `bits`, a constant after inlining.
    fn rotate_left(self, word: Self::Word, bits: u32) -> Self::Word;

    /// `(mask & ones) | (!mask & zeros)`
    fn select(self, mask: Self::Word, ones: Self::Word, zeros: Self::Word) -> Self::Word;

    /// `x ^ y ^ z`
    fn xor(self, x: Self::Word, y: Self::Word, z: Self::Word) -> Self::Word;

    /// `y ^ (x | !z)`
    fn xor_or_not(self, x: Self::Word, y: Self::Word, z: Self::Word) -> Self::Word;
}

/// The state after one more block, whose 16 words are `words`.
#[inline(always)]
pub(super) fn one_block<A: Arithmetic>(arithmetic: A, state: [A::Word; 4], words: &[A::Word; 16]) -> [A::Word; 4] {
    let mut next = state;
    round::<A, 0>(arithmetic, &mut next, words);
    round::<A, 1>(arithmetic, &mut next, words);
    round::<A, 2>(arithmetic, &mut next, words);
    round::<A, 3>(arithmetic, &mut next, words);
    for (word, before) in next.iter_mut().zip(state) {
        *word = arithmetic.add(*word, before);
    }
    next
}

#[inline(always)]
fn round<A: Arithmetic, const ROUND: usize>(arithmetic: A, state: &mut [A::Word; 4], words: &[A::Word; 16]) {
    // Spelled out: the compiler gives up on unrolling the loop of a `Pair`, and rotations by an
    // immediate and words in registers with it.
    macro_rules! steps {
        ($($step:literal)*) => { $(step::<A, ROUND, $step>(arithmetic, state, words);)* };
    }
    steps!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
}

#[inline(always)]
fn step<A: Arithmetic, const ROUND: usize, const STEP: usize>(
    arithmetic: A,
    state: &mut [A::Word; 4],
    words: &[A::Word; 16],
) {
    let [a, b, c, d] = *state;
    let (mixed, index) = match ROUND {
        0 => (arithmetic.select(b, c, d), STEP),
        1 => (arithmetic.select(d, b, c), (5 * STEP + 1) % 16),
        2 => (arithmetic.xor(b, c, d), (3 * STEP + 5) % 16),
        _ => (arithmetic.xor_or_not(b, c, d), (7 * STEP) % 16),
    };
    // `mixed` comes last: the rest of the sum is ready before the step's predecessor is.
    let constant = arithmetic.splat(CONSTANTS[16 * ROUND + STEP]);
    let known = arithmetic.add(arithmetic.add(words[index], constant), a);
    let sum = arithmetic.rotate_left(arithmetic.add(known, mixed), ROTATIONS[ROUND][STEP % 4]);
    *state = [d, arithmetic.add(b, sum), b, c];
}

/// `floor(2^32 * |sin(i + 1)|)` for step `i` (RFC 1321, section 3.4).
#[rustfmt::skip]
const CONSTANTS: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

/// The four rotations of each round, taken in turns.
const ROTATIONS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
