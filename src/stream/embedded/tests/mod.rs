//! Tests of the embedded backend as a whole.

mod copy;
mod crash;
mod damage;
mod kit;
mod model;
mod refusals;
mod seam;
