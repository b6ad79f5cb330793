"""The reader of TPU schedules on which the comparison of kernels rests (benchmarks/tpu_schedule.py), on small ones."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def tpu_schedule(monkeypatch):
  monkeypatch.syspath_prepend(BENCHMARKS)
  return importlib.import_module("tpu_schedule")


BEFORE = """
     0   :  { %s1_s0 = inlined_call_operand.hbm }
   0x1   :  { %s2_s1 = smov 0 }
"""
OUTER = """
   0x2 LB: > { %s3_s2 = sphi %s2_s1, %s4_s2 } /* Start region 5 */
   0x3   : > { %p9_p0 = scmp.ge.s32.totalorder %s4_s2, 3 /* loop exit test */ }
   0x4   : > { %10 = vmatmul.bf16.gmra.mxu0 %v1_v1  ;;  %11 = vmatmul.bf16.gmra.mxu1 %v1_v1 }
"""
INNER = """
   0x5 LB: >> { %s5_s3 = sphi %s6_s3, %s7_s3 /* phi copy */ } /* Start region 7 :: Start region 8 */
   0x6   : >> { %p8_p1 = scmp.ge.s32.totalorder %s7_s3, 5 /* loop exit test */ }
   0x7   : >> { %12 = vst [vmem:[#allocation3_spill] sm:$0xff] %v2_v2 }
   0x8   : >> { %13 = sbr.rel (!%p8_p1) target = $region7 }
"""
AFTER = """
   0x9   : > { %14 = sbr.rel (!%p9_p0) target = $region5 }
   0xa   :  { }
"""


def test_bundles_count_once_for_every_trip_of_their_loops(tpu_schedule):
  cost = tpu_schedule.cost(BEFORE + OUTER + INNER + AFTER)
  assert cost.bundles == 2 + 3 * 3 + 4 * 3 * 5 + 3 + 1  # two before, three and four in the loops, and what is after
  assert cost.spills == 3 * 5
  assert cost.matrix_rows == 3 * 16  # both units work at the same time
  # What stands in the outer loop alone, four bundles, keeps a unit busy for sixteen cycles.
  assert cost.cycles == 2 + 3 * 16 + 4 * 3 * 5 + 1


def test_a_loop_without_a_number_of_trips_is_an_error(tpu_schedule):
  unknown = INNER.replace("%s7_s3, 5 /* loop exit test */", "%s7_s3, %s9_s9")
  with pytest.raises(ValueError, match="how often"):
    tpu_schedule.cost(BEFORE + OUTER + unknown + AFTER)
  once = tpu_schedule.cost(BEFORE + OUTER + unknown + AFTER, unknown_trips=1)
  assert once.spills == 3


def test_products_of_the_wider_units(tpu_schedule):
  newer = OUTER.replace("vmatmul.bf16.gmra.mxu0", "vmatmul.mubr.bf16.gmra.mxu0")
  newest = OUTER.replace("vmatmul.bf16.gmra.mxu1", "vmatmul.mubr.bf16.gmra.mrb[4].mxu1")
  assert tpu_schedule.cost(BEFORE + newer + AFTER).matrix_rows == 3 * 16  # the other unit takes longer
  assert tpu_schedule.cost(BEFORE + newest + AFTER).matrix_rows == 3 * 16
  both = newer.replace("vmatmul.bf16.gmra.mxu1", "vmatmul.mubr.bf16.gmra.mrb[4].mxu1")
  assert tpu_schedule.cost(BEFORE + both + AFTER).matrix_rows == 3 * 8


def test_operations_of_a_dump_are_read_by_name(tpu_schedule, tmp_path):
  (tmp_path / "17-fusion.3-02-schedule-analysis_final_bundles.txt").write_text("not a schedule")
  (tmp_path / "17-fusion.3-03-final_bundles.txt").write_text(BEFORE)
  (tmp_path / "17-TLP-03-final_bundles.txt").write_text(BEFORE)
  assert tpu_schedule.read(tmp_path) == {"fusion.3": tpu_schedule.Cost(bundles=2, cycles=2)}
