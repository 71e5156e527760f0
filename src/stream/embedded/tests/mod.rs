//! Tests of the embedded backend as a whole.

mod crash;
mod seam;
