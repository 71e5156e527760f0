//! Tests of the embedded backend as a whole.

mod crash;
mod damage;
mod kit;
mod refusals;
mod seam;
