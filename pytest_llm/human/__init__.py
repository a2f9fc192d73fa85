"""What people think of answers: their ratings in a file, how far raters agree, a mean to gate on."""
