"""The sentence below a table: data, protocol, counts, what was left out, ties."""

from __future__ import annotations

from reidtune.report.tables import metrics_table, obtained
from tests.report.evaluated import render, result, text_result, words


def test_every_table_says_how_its_numbers_were_obtained():
    changed = result(queries={"total": 3368, "skipped": 12}, gallery={"total": 15913, "ignored": 3819})
    text = words(render(metrics_table([changed])))
    assert "market1501, cross-camera: 3,368 queries, 15,913 gallery images" in text
    assert "3,819 junk images left out" in text
    assert "12 queries skipped for want of a positive" in text
    assert "Ties are stable: equal scores keep gallery order." in text
    plain = words(render(metrics_table([result()])))
    assert "junk" not in plain
    assert "skipped" not in plain


def test_ties_that_matter_are_said():
    ties = {"queries": 3, "worst": {"mAP": 0.8821}, "best": {"mAP": 0.8904}}
    text = words(render(metrics_table([result(ties=ties)])))
    assert "Ties are stable: equal scores keep gallery order; 3 queries have some, and other rules give 88.2 to" in text
    assert "to 89.0 mAP." in text
    ties = {"queries": 1, "worst": {"mAP": 0.88701}, "best": {"mAP": 0.88703}}
    assert "gallery order." in words(render(metrics_table([result(ties=ties)])))


def test_near_ties_are_said_once_for_all_rows():
    def said(*facts):
        return words(render(metrics_table([result(**one) for one in facts])))

    ties = {"queries": 3, "worst": {"mAP": 0.8821}, "best": {"mAP": 0.8904}}
    assert said({"ties": ties, "near_ties": 5}).endswith("may change places on another device: of 2 queries.")
    assert said({"near_ties": 1}).endswith("of 1 query.")
    both = said({"near_ties": 4}, {"near_ties": 9})
    assert both.endswith("of up to 9 queries.") and "[2]" not in both
    for plain in ({}, {"ties": ties}, {"ties": ties, "near_ties": 3}):
        assert "nearly" not in said(plain)


def test_skipped_queries_are_named():
    one = obtained(result(queries={"total": 9, "skipped": 1}, skipped_examples=["a.jpg"]))
    assert "1 query skipped for want of a positive (a.jpg)." in one
    many = obtained(result(queries={"total": 9, "skipped": 5}, skipped_examples=["a.jpg", "b.jpg", "c.jpg"]))
    assert "5 queries skipped for want of a positive (a.jpg, b.jpg, c.jpg, …)." in many


def test_several_deltas_share_one_sentence_and_another_protocol_gets_its_own():
    zero_shot = result(delta=None)
    text = words(render(metrics_table([zero_shot, result()])))
    assert text.count("Ties are") == 1
    assert "[1]" not in text
    text = words(render(metrics_table([zero_shot, result(protocol="all"), zero_shot])))
    assert text.count("Ties are") == 2
    assert text.count("none (zero-shot) [1]") == 2
    assert "lora (harbour) [2]" in text
    assert "[1] market1501, cross-camera:" in text
    assert "[2] market1501, all:" in text


def test_images_without_a_caption_to_find_are_counted():
    changed = text_result()
    changed["image_to_text"]["queries"]["skipped"] = 3
    assert "image to text, 3 of 3,074 images skipped." in obtained(changed)
    assert "skipped" not in obtained(text_result())


def samples(query, gallery, **changes):
    return result(
        layout="rgbnt201",
        task="multimodal",
        modalities={"query": query, "gallery": gallery},
        queries={"total": 836, "skipped": 0},
        gallery={"total": 835, "ignored": 0},
        **changes,
    )


def test_samples_of_several_modalities_are_counted_as_samples():
    names = ["rgb", "nir", "tir"]
    assert obtained(samples(names, names)).startswith(
        "rgbnt201, cross-camera: 836 queries, 835 gallery samples, of rgb, nir and tir. Metrics in percent."
    )
    assert "836 queries of rgb, 835 gallery samples of nir and tir." in obtained(samples(["rgb"], ["nir", "tir"]))
    plain = obtained(samples(["nir"], ["nir"]) | {"task": "image"})
    assert "836 queries, 835 gallery images, of nir." in plain


def test_samples_without_the_modalities_are_counted():
    names = ["rgb"]
    both = obtained(samples(names, names, left_out={"query": 2, "gallery": 1}))
    assert "of rgb; 2 queries and 1 gallery sample left out for want of these modalities." in both
    one = obtained(samples(names, names, left_out={"query": 0, "gallery": 1_040}))
    assert "of rgb; 1,040 gallery samples left out for want of these modalities." in one
    assert "left out" not in obtained(samples(names, names, left_out={"query": 0, "gallery": 0}))
    junk = samples(names, names) | {"gallery": {"total": 9, "ignored": 3}}
    assert "3 junk samples left out" in obtained(junk)
