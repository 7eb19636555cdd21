"""Splink on the same table, for comparison: prints one JSON object. Usage: splink_beside.py TABLE.csv

Configured as its users would for people: identifiers, names with term frequencies, date of birth, place; its best threshold by
pair F1 is taken, which the truth beside the records tells.
"""
import collections
import json
import logging
import sys
import time

import duckdb
import pandas as pd
import splink.comparison_library as cl
from splink import DuckDBAPI, Linker, SettingsCreator, block_on

logging.getLogger("splink").setLevel(logging.ERROR)
frame = pd.read_csv(sys.argv[1], dtype=str).rename(columns={"rec_id": "unique_id"})
truth = dict(zip(frame.unique_id, frame.entity_id))
began = time.process_time()
settings = SettingsCreator(
    link_type="dedupe_only",
    comparisons=[
        cl.NameComparison("given").configure(term_frequency_adjustments=True),
        cl.NameComparison("surname").configure(term_frequency_adjustments=True),
        cl.EmailComparison("email"),
        cl.LevenshteinAtThresholds("phone", 1),
        cl.DateOfBirthComparison("dob", input_is_string=True),
        cl.ExactMatch("postcode"),
        cl.ExactMatch("city").configure(term_frequency_adjustments=True),
        cl.ExactMatch("handle"),
        cl.ExactMatch("loyalty"),
    ],
    blocking_rules_to_generate_predictions=[
        block_on("email"), block_on("phone"), block_on("handle"), block_on("loyalty"), block_on("given", "surname"),
        block_on("surname", "dob"), block_on("given", "dob"), block_on("surname", "postcode"), block_on("given", "postcode"),
    ],
)
linker = Linker(frame.drop(columns=["entity_id"]), settings, DuckDBAPI(connection=duckdb.connect()))
linker.training.estimate_probability_two_random_records_match([block_on("email", "given"), block_on("loyalty")], recall=0.5)
linker.training.estimate_u_using_random_sampling(max_pairs=2e6, seed=1)
for rule in (block_on("email"), block_on("phone"), block_on("given", "surname")):
    linker.training.estimate_parameters_using_expectation_maximisation(rule)
predictions = linker.inference.predict(threshold_match_probability=0.2)


def pairs(sizes):
    return sum(size * (size - 1) // 2 for size in sizes)


def score(threshold):
    found = linker.clustering.cluster_pairwise_predictions_at_threshold(predictions, threshold_match_probability=threshold)
    found = found.as_pandas_dataframe()[["unique_id", "cluster_id"]]
    both = collections.Counter((truth[i], c) for i, c in zip(found.unique_id, found.cluster_id))
    clusters, people = collections.Counter(), collections.Counter()
    for (person, cluster), count in both.items():
        clusters[cluster] += count
        people[person] += count
    right = pairs(both.values())
    precision, recall = right / max(1, pairs(clusters.values())), right / max(1, pairs(people.values()))
    cubed_precision = sum(n * n / clusters[c] for (_, c), n in both.items()) / len(truth)
    cubed_recall = sum(n * n / people[p] for (p, _), n in both.items()) / len(truth)
    return {
        "threshold": threshold,
        "pair_f1": round(2 * precision * recall / max(1e-9, precision + recall), 4),
        "b_cubed_f1": round(2 * cubed_precision * cubed_recall / (cubed_precision + cubed_recall), 4),
        "largest": max(clusters.values()),
    }


best = max((score(threshold) for threshold in (0.5, 0.9, 0.99, 0.999)), key=lambda result: result["pair_f1"])
best["cpu_seconds"] = round(time.process_time() - began, 1)
print(json.dumps(best))
